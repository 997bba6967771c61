"""The leader and its views: one ccxt client with the markets in it, and a thin copy of it for each account.

A client of its own costs an account 11 MiB; a view costs 10 KiB. The leader's class is made here over ccxt's: it
refuses broken bodies, takes its time from our clock, and tells the meter what ccxt holds a request to cost.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fleetsync.model import Account
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.ccxt_describe import exchange_class, units
from fleetsync_adapters.ccxt_errors import broken_body
from fleetsync_adapters.ccxt_session import CURRENT, MeteredSession

_SILENT: dict[str, Any] = {
    "maxRetriesOnFailure": 0,  # a retry is a call: only the engine decides on it
    "fetchCurrencies": False,
    "fetchMargins": False,
    "warnOnFetchOpenOrdersWithoutSymbol": False,
    "fetchOpenOrders": {"warnWithoutSymbol": False},
    "adjustForTimeDifference": False,  # our clock does that
    "defaultType": "swap",
    "defaultSubType": "linear",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "binance": {"fetchMarkets": {"types": ["linear"]}},
    "binanceusdm": {"fetchMarkets": {"types": ["linear"]}},
    "okx": {"fetchMarkets": {"types": ["swap"]}},
    "bybit": {"fetchMarkets": {"types": ["linear"]}},
    "bitget": {"fetchMarkets": {"types": ["swap"]}, "uta": False},
    "gate": {
        "fetchMarkets": {"types": ["swap"]},
        "swap": {"fetchMarkets": {"settlementCurrencies": ["usdt"]}},
        "unifiedAccount": False,
    },
}

# What a dict that is no error must hold, by exchange: `{}` or half a body would otherwise read as "nothing there".
ENVELOPES: dict[str, tuple[str, ...]] = {
    "okx": ("code", "data"),
    "bybit": ("retCode", "result"),
    "bitget": ("code", "data"),
    "kucoinfutures": ("code", "data"),
    "bingx": ("code",),
}


def make_leader(spec: ExchangeSpec, session: MeteredSession, now_ms: Callable[[], int]) -> Any:
    """A client of ccxt's for this exchange, without markets and without credentials.

    Args:
        spec: Which exchange, and the options that the operator gives ccxt.
        session: The session that all of its requests go through.
        now_ms: The exchange's time as far as we know it; signed requests carry it.

    Raises:
        ConfigError: ccxt has no exchange of that id.
    """
    base = exchange_class(spec.exchange)
    options = _merged(_merged(_SILENT, OPTIONS.get(spec.exchange, {})), spec.options)
    leader = _our_class(base, spec.exchange, now_ms)(
        {"session": session, "enableRateLimit": False, "timeout": spec.call_timeout_ms, "options": options}
    )
    leader.number = str  # exact, and cheaper than floats
    leader.ssl_context = False  # the shared session holds the one context; else each view would load the CA bundle
    leader.has = {**leader.has, "fetchCurrencies": False}
    leader.enableLastHttpResponse = leader.enableLastJsonResponse = leader.enableLastResponseHeaders = False
    leader.timeout_on_exit = 0
    return leader


def make_view(leader: Any, account: Account) -> Any:
    """The leader with another account's credentials: markets are shared, whatever an account leaves behind is not."""
    view = copy.copy(leader)
    view.apiKey = account.api_key.reveal
    view.secret = account.api_secret.reveal
    view.password = account.password.reveal
    view.uid = ""
    view.options = dict(leader.options)
    view.headers = dict(leader.headers)
    view.balance, view.clients = {}, {}
    view.orders = view.positions = view.triggerOrders = view.myTrades = view.accounts = view.accountsById = None
    view.last_request_headers = view.last_request_body = view.last_request_url = None
    view.markets_loading = None
    view.own_session = False
    return view


def _our_class(base: Any, exchange: str, now_ms: Callable[[], int]) -> Any:
    envelope = ENVELOPES.get(exchange, ())

    def handle_errors(
        self: Any, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any, *sent: Any
    ) -> None:
        CURRENT.get().heard(response)
        base.handle_errors(self, code, reason, url, method, headers, body, response, *sent)
        if code < 400 and is_broken(response, envelope):
            raise broken_body(f"{exchange}: not the body that was asked for, status {code}")

    async def fetch2(
        self: Any, path: str, api: Any = "public", method: str = "GET", params: Any = None, config: Any = None
    ) -> Any:
        meter = CURRENT.get()
        if meter.by_ccxt:
            meter.ccxt_weight = units(self.calculate_rate_limiter_cost(api, method, path, params or {}, config or {}))
        return await base.fetch2(self, path, api, method, params or {}, config or {})

    ours = {
        "handle_errors": handle_errors,
        "fetch2": fetch2,
        "milliseconds": lambda _self: now_ms(),
        "seconds": lambda _self: now_ms() // 1000,
        "__del__": lambda _self: None,  # ccxt's own would complain about each view that is dropped
    }
    return type(exchange, (base,), ours)  # the same name: ccxt looks things up by it


def is_broken(response: object, envelope: tuple[str, ...]) -> bool:
    """Whether the body of a 2xx cannot be an answer: no JSON, an empty object, or not in the exchange's envelope."""
    if response is None or response == {} or isinstance(response, str | int | float):
        return True
    if not envelope:
        return False
    return not isinstance(response, Mapping) or any(key not in response or response[key] is None for key in envelope)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = dict(below)
    for key, value in above.items():
        nested = merged.get(key, {})
        nests = isinstance(value, Mapping) and isinstance(nested, Mapping)
        merged[key] = _merged(nested, value) if nests else value
    return merged
