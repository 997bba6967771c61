"""Small exchanges on a socket for the tests: what they answer is set by path, and what they were asked is kept.

Each knows one market, BTC/USDT:USDT, in the shape that the real exchange gives it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Account, Secret
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.ccxt_exchange import CcxtExchange
from fleetsync_adapters.paper.server import system_now_ms

SYMBOL = "BTC/USDT:USDT"
KEY, SECRET, PASSWORD = "the-api-key-1", "c2VjcmV0LW9mLXRoZS10ZXN0cw==", "the-passphrase"

Body = Any  # JSON, or text as it stands, or a function of the query
_OKX = {
    "instId": "BTC-USDT-SWAP", "instType": "SWAP", "instFamily": "BTC-USDT", "uly": "BTC-USDT", "settleCcy": "USDT",
    "ctVal": "0.01", "ctType": "linear", "ctValCcy": "BTC", "baseCcy": "", "quoteCcy": "", "tickSz": "0.1",
    "lotSz": "0.01", "minSz": "0.01", "state": "live", "lever": "100", "listTime": "1", "expTime": "", "ctMult": "1",
}  # fmt: skip
_BYBIT = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
    "quoteCoin": "USDT", "settleCoin": "USDT", "launchTime": "1", "deliveryTime": "0",
    "lotSizeFilter": {"minOrderQty": "0.001", "maxOrderQty": "100", "qtyStep": "0.001"},
    "priceFilter": {"tickSize": "0.1"}, "leverageFilter": {},
}  # fmt: skip
_BITGET = {
    "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "supportMarginCoins": ["USDT"],
    "symbolType": "perpetual", "symbolStatus": "normal", "pricePlace": "1", "volumePlace": "3", "priceEndStep": "1",
    "sizeMultiplier": "0.001", "minTradeNum": "0.001",
}  # fmt: skip
_GATE = {
    "name": "BTC_USDT", "type": "direct", "quanto_multiplier": "0.0001", "order_price_round": "0.1",
    "order_size_min": 1, "order_size_max": 1000000, "leverage_min": "1", "leverage_max": "100",
    "order_price_deviate": "0.5", "mark_price": "50000", "taker_fee_rate": "0.0005", "maker_fee_rate": "0.0002",
    "in_delisting": False, "create_time": 1,
}  # fmt: skip
_BINANCE = {
    "symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
    "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2,
    "quantityPrecision": 3,
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
    ],
}  # fmt: skip
_KUCOIN = {
    "symbol": "XBTUSDTM", "type": "FFWCSX", "baseCurrency": "XBT", "quoteCurrency": "USDT", "settleCurrency": "USDT",
    "status": "Open", "multiplier": 0.001, "tickSize": 0.1, "lotSize": 1, "maxOrderQty": 1000000, "isInverse": False,
    "firstOpenDate": 1, "expireDate": None, "maxLeverage": 100, "nextFundingRateTime": 1,
}  # fmt: skip
_HTX = {
    "symbol": "BTC", "contract_code": "BTC-USDT", "contract_size": 0.001, "price_tick": 0.1, "contract_status": 1,
    "support_margin_mode": "all", "business_type": "swap", "pair": "BTC-USDT", "contract_type": "swap",
    "trade_partition": "USDT", "create_date": "20200101", "delivery_date": "", "delivery_time": "",
}  # fmt: skip
_BINGX = {
    "contractId": "100", "symbol": "BTC-USDT", "size": "0.0001", "quantityPrecision": 4, "pricePrecision": 1,
    "feeRate": 0.0005, "tradeMinLimit": 1, "currency": "USDT", "asset": "BTC", "status": 1,
}  # fmt: skip

MARKETS: Mapping[str, Mapping[str, Body]] = {
    "binanceusdm": {"/fapi/v1/exchangeInfo": {"symbols": [_BINANCE]}},
    "okx": {"/api/v5/public/instruments": {"code": "0", "msg": "", "data": [_OKX]}},
    "bybit": {
        "/v5/market/instruments-info": lambda query: {
            "retCode": 0, "retMsg": "OK",
            "result": {"category": "linear", "list": [] if "status" in query else [_BYBIT], "nextPageCursor": ""},
        },
    },
    "bitget": {
        "/api/v2/mix/market/contracts": lambda query: {
            "code": "00000", "msg": "success", "data": [_BITGET] if query["productType"] == "USDT-FUTURES" else [],
        },
    },
    "gate": {"/api/v4/futures/usdt/contracts": [_GATE]},
    "kucoinfutures": {"/api/v1/contracts/active": {"code": "200000", "data": [_KUCOIN]}},
    "htx": {
        "/linear-swap-api/v1/swap_contract_info": {"status": "ok", "data": [_HTX], "ts": 1},
    },
    "bingx": {
        "/openApi/swap/v2/quote/contracts": {"code": 0, "msg": "", "data": [_BINGX]},
        "/openApi/cswap/v1/market/contracts": {"code": 0, "msg": "", "data": []},
        "/openApi/spot/v1/common/symbols": {"code": 0, "msg": "", "data": {"symbols": []}},
    },
}  # fmt: skip


@dataclass(slots=True)
class Venue:
    """What it answers, by path, and what it was asked."""

    answers: dict[str, Body] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    otherwise: Body = None  # for every path that is not among the answers; None: 404
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    raw: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None  # answers in place of all the above

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = dict(request.query)
        self.asked.append((request.path, query))
        if self.raw is not None:
            return await self.raw(request)
        body = self.answers.get(request.path, self.otherwise)
        if callable(body):
            body = body(query)
        if body is None:
            return web.Response(status=404, text="no such path")
        if isinstance(body, web.StreamResponse):
            return body
        text = body if isinstance(body, str) else orjson.dumps(body).decode()
        return web.Response(text=text, status=self.status, headers=self.headers, content_type="application/json")


@dataclass(slots=True)
class Stage:
    """An opened exchange of ours and the venue that it talks to."""

    exchange: CcxtExchange
    venue: Venue

    async def ask(self, call: Call, *, full: bool = False) -> tuple[Answer, tuple[Request, ...]]:
        return await self.exchange.ask("a", call, full=full)


def account(exchange: str, name: str = "a") -> Account:
    return Account(name, exchange, Secret(KEY), Secret(SECRET), Secret(PASSWORD))


@asynccontextmanager
async def staged(
    exchange_id: str, answers: Mapping[str, Body] | None = None, *, opened: bool = True,
    call_timeout_ms: int = 5_000, now_ms: Callable[[], int] = system_now_ms,
) -> AsyncIterator[Stage]:
    """Our exchange, on a venue of that kind, over a socket."""
    venue = Venue({**MARKETS.get(exchange_id, {}), **(answers or {})})
    runner = web.ServerRunner(web.Server(venue.handle, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        spec = ExchangeSpec(
            exchange_id, base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", call_timeout_ms=call_timeout_ms
        )
        exchange = CcxtExchange(spec, now_ms)
        try:
            if opened:
                answer, _ = await exchange.open()
                assert answer.fault is None, answer.detail
                exchange.add_account(account(exchange_id))
            yield Stage(exchange, venue)
        finally:
            await exchange.close()
    finally:
        await runner.cleanup()
