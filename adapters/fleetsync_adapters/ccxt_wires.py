"""What is special about one exchange, as data: which endpoint answers which question, and how its lists are paged.

ccxt signs and sends (its implicit methods) and parses single rows; the lists are read here, page by page, because
ccxt's own unified calls cut them short in silence (20 of 250 orders on bybit, 100 of 250 on OKX) and make requests of
their own that nobody granted. One settle coin is served: lists ask for it, and only its markets are loaded as known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetsync.model import Surface
from fleetsync.units import DAY_MS

Params = Mapping[str, str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The fields of a raw row that name things, `a.b` for one inside another.

    ccxt's own parsers mix the ids of an order and of the conditional one behind it, and pass on words of an exchange's
    that they do not know: an order that has ended would look like one of which nothing is known.
    """

    market: str
    id: str = ""
    client: str = ""
    status: tuple[str, ...] = ()  # the fields that tell how an order stands, the closest word first ...
    meanings: Mapping[str, str] = field(default_factory=dict)  # ... and what their words mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How to ask for the next page: a parameter, and where its value comes from."""

    param: str
    token_at: tuple[str, ...] = ()  # in the body ...
    lowest: str = ""  # ... or the lowest of this field in the rows ...
    by_count: bool = False  # ... or how many rows were read


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How to ask for rows since an instant."""

    since: str
    until: str = ""
    window_ms: int = 0  # 0: any span may be asked
    reach_ms: int = 0  # who asks for older ones is refused; 0: nobody is
    in_seconds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An endpoint that answers with rows."""

    method: str
    params: Params = field(default_factory=dict)
    params_for_all: Params = field(default_factory=dict)  # only where no symbol is asked for
    symbol: str = ""  # parameter that narrows it to a symbol; "" where there is none
    rows_at: tuple[str, ...] = ()
    null_is_empty: bool = False  # this exchange sends null for a list without rows
    names: Names
    page: int = 0  # rows a page; 0: it has no pages
    page_param: str = "limit"
    turn: Turn | None = None
    variants: tuple[Params, ...] = ({},)  # several requests make one list
    span: Span | None = None
    only: tuple[str, frozenset[str]] | None = None  # a field, and its values that count
    made_field: str = ""  # of a fill: when it was made, in ms, where ccxt reads when it was written down


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """An endpoint that answers with one order."""

    method: str
    params: Params = field(default_factory=dict)
    symbol: str = "symbol"
    id_param: str
    client_param: str
    client_prefix: str = ""  # what the exchange wants before an id of ours
    row_at: tuple[str, ...] = ()
    empty_is_not_found: bool = False
    names: Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """One exchange."""

    lists: Mapping[Surface, Listing]
    order: Lookup
    conditional_order: Lookup | None = None
    settle: str = ""  # "": markets of every settle coin are answered by the lists
    hedge_field: tuple[str, str] = ("", "")  # a field of a position, and how it begins in hedge mode
    moved_field: str = ""  # a field of a position: when it last moved; "": ccxt reads it
    moved_unit_ms: int = 1  # and what that field counts in
    market_requests: int = 1  # how many requests it takes to load the markets


def _means(**words: str) -> Mapping[str, str]:
    """A word of an exchange's -> ours; `canceled` also means an end that leaves open how much was filled."""
    return {word: status for status, listed in words.items() for word in listed.split()}


_OKX_STATUSES = _means(
    open="live partially_filled partially_effective pause", closed="filled effective",
    canceled="canceled mmp_canceled order_failed partially_failed")  # fmt: skip
_OKX_ORDER = Names(market="instId", id="ordId", client="clOrdId", status=("state",), meanings=_OKX_STATUSES)
_OKX_ALGO = Names(market="instId", id="algoId", client="algoClOrdId", status=("state",), meanings=_OKX_STATUSES)
OKX = Wire(
    lists={
        Surface.POSITIONS: Listing(
            method="privateGetAccountPositions", params={"instType": "SWAP"}, symbol="instId", rows_at=("data",),
            names=Names(market="instId"),
        ),
        Surface.ORDERS: Listing(
            method="privateGetTradeOrdersPending", params={"instType": "SWAP"}, symbol="instId", rows_at=("data",),
            page=100, turn=Turn(param="after", lowest="ordId"), names=_OKX_ORDER,
        ),
        Surface.CONDITIONAL: Listing(
            method="privateGetTradeOrdersAlgoPending", params={"instType": "SWAP"}, symbol="instId", rows_at=("data",),
            page=100, turn=Turn(param="after", lowest="algoId"),
            variants=({"ordType": "conditional,oco"}, {"ordType": "trigger"}, {"ordType": "move_order_stop"}),
            names=_OKX_ALGO,
        ),
        Surface.FILLS: Listing(
            method="privateGetTradeFillsHistory", params={"instType": "SWAP"}, symbol="instId", rows_at=("data",),
            page=100, turn=Turn(param="after", lowest="billId"), span=Span(since="begin"), names=Names(market="instId"),
            made_field="fillTime",
        ),
    },
    order=Lookup(
        method="privateGetTradeOrder", symbol="instId", id_param="ordId", client_param="clOrdId", row_at=("data",),
        names=_OKX_ORDER,
    ),
    conditional_order=Lookup(
        method="privateGetTradeOrderAlgo", symbol="", id_param="algoId", client_param="algoClOrdId", row_at=("data",),
        names=_OKX_ALGO,
    ),
)  # fmt: skip

_BYBIT_ROWS = ("result", "list")
_BYBIT_NEXT = Turn(param="cursor", token_at=("result", "nextPageCursor"))
_BYBIT_STATUSES = _means(
    open="Created New Active Untriggered Triggered PartiallyFilled PendingCancel", closed="Filled",
    canceled="Cancelled PartiallyFilledCanceled Deactivated", rejected="Rejected")  # fmt: skip
_BYBIT_ORDER = Names(
    market="symbol", id="orderId", client="orderLinkId", status=("orderStatus",), meanings=_BYBIT_STATUSES)  # fmt: skip
_BYBIT_TRADES = ("execType", frozenset({"Trade", "AdlTrade", "BustTrade", "BlockTrade"}))  # the rest is funding, fees
BYBIT = Wire(
    settle="USDT",
    market_requests=2,
    lists={
        Surface.POSITIONS: Listing(
            method="privateGetV5PositionList", params={"category": "linear"}, params_for_all={"settleCoin": "USDT"},
            symbol="symbol", rows_at=_BYBIT_ROWS, page=200, turn=_BYBIT_NEXT, names=Names(market="symbol"),
        ),
        Surface.ORDERS: Listing(
            method="privateGetV5OrderRealtime", params={"category": "linear", "orderFilter": "Order"},
            params_for_all={"settleCoin": "USDT"}, symbol="symbol", rows_at=_BYBIT_ROWS, page=50, turn=_BYBIT_NEXT,
            names=_BYBIT_ORDER,
        ),
        Surface.CONDITIONAL: Listing(
            method="privateGetV5OrderRealtime", params={"category": "linear", "orderFilter": "StopOrder"},
            params_for_all={"settleCoin": "USDT"}, symbol="symbol", rows_at=_BYBIT_ROWS, page=50, turn=_BYBIT_NEXT,
            names=_BYBIT_ORDER,
        ),
        Surface.FILLS: Listing(
            method="privateGetV5ExecutionList", params={"category": "linear"}, symbol="symbol", rows_at=_BYBIT_ROWS,
            page=100, turn=_BYBIT_NEXT, span=Span(since="startTime", until="endTime", window_ms=7 * DAY_MS),
            only=_BYBIT_TRADES, names=Names(market="symbol"),
        ),
    },
    order=Lookup(
        method="privateGetV5OrderRealtime", params={"category": "linear"}, id_param="orderId",
        client_param="orderLinkId", row_at=_BYBIT_ROWS, empty_is_not_found=True, names=_BYBIT_ORDER,
    ),
    conditional_order=Lookup(
        method="privateGetV5OrderRealtime", params={"category": "linear", "orderFilter": "StopOrder"},
        id_param="orderId", client_param="orderLinkId", row_at=_BYBIT_ROWS, empty_is_not_found=True, names=_BYBIT_ORDER,
    ),
)  # fmt: skip

_BITGET = {"productType": "USDT-FUTURES"}
_BITGET_NEXT = Turn(param="idLessThan", token_at=("data", "endId"))
_BITGET_STATUSES = _means(
    open="live new init not_trigger executing partially_filled partially_fill partial_fill",
    closed="filled full_fill executed triggered", canceled="canceled cancelled cancel",
    rejected="fail_execute fail_trigger")  # fmt: skip
_BITGET_ORDER = Names(
    market="symbol", id="orderId", client="clientOid", status=("status", "state", "planStatus"),
    meanings=_BITGET_STATUSES)  # fmt: skip
BITGET = Wire(
    settle="USDT",
    market_requests=6,
    hedge_field=("posMode", "hedge"),
    moved_field="uTime",  # ccxt looks for another spelling and gives the time of the opening
    lists={
        Surface.POSITIONS: Listing(
            method="privateMixGetV2MixPositionAllPosition", params={**_BITGET, "marginCoin": "USDT"},
            rows_at=("data",), names=Names(market="symbol"),
        ),
        Surface.ORDERS: Listing(
            method="privateMixGetV2MixOrderOrdersPending", params=_BITGET, symbol="symbol",
            rows_at=("data", "entrustedList"), null_is_empty=True, page=100, turn=_BITGET_NEXT, names=_BITGET_ORDER,
        ),
        Surface.CONDITIONAL: Listing(
            method="privateMixGetV2MixOrderOrdersPlanPending", params=_BITGET, symbol="symbol",
            rows_at=("data", "entrustedList"), null_is_empty=True, page=100, turn=_BITGET_NEXT,
            variants=({"planType": "normal_plan"}, {"planType": "track_plan"}, {"planType": "profit_loss"}),
            names=_BITGET_ORDER,
        ),
        Surface.FILLS: Listing(
            method="privateMixGetV2MixOrderFills", params=_BITGET, symbol="symbol", rows_at=("data", "fillList"),
            null_is_empty=True, page=100, turn=_BITGET_NEXT, names=Names(market="symbol"),
            # Its code 40704: only the last three months, which are 89 days at the least.
            span=Span(since="startTime", until="endTime", window_ms=7 * DAY_MS, reach_ms=89 * DAY_MS),
        ),
    },
    order=Lookup(
        method="privateMixGetV2MixOrderDetail", params=_BITGET, id_param="orderId", client_param="clientOid",
        row_at=("data",), names=_BITGET_ORDER,
    ),
)  # fmt: skip

_GATE = {"settle": "usdt"}
_GATE_STATUSES = _means(
    open="open _new _update inactive", closed="filled succeeded",
    canceled="cancelled liquidated ioc auto_deleveraged reduce_only position_closed reduce_out stp failed expired "
             "finished finish invalid")  # fmt: skip
_GATE_STATUS = ("finish_as", "status")  # a new word in the first is no riddle: the second says that it is an end
_GATE_ORDER = Names(market="contract", id="id", client="text", status=_GATE_STATUS, meanings=_GATE_STATUSES)
_GATE_PRICE_ORDER = Names(
    market="initial.contract", id="id", client="initial.text", status=_GATE_STATUS, meanings=_GATE_STATUSES,
)  # fmt: skip
GATE = Wire(
    settle="USDT",
    hedge_field=("mode", "dual"),
    moved_field="update_time", moved_unit_ms=1_000,
    lists={
        Surface.POSITIONS: Listing(
            method="privateFuturesGetSettlePositions", params={**_GATE, "holding": "true"}, page=100,
            turn=Turn(param="offset", by_count=True), names=Names(market="contract"),
        ),
        Surface.ORDERS: Listing(
            method="privateFuturesGetSettleOrders", params={**_GATE, "status": "open"}, symbol="contract", page=100,
            turn=Turn(param="last_id", lowest="id"), names=_GATE_ORDER,
        ),
        Surface.CONDITIONAL: Listing(
            method="privateFuturesGetSettlePriceOrders", params={**_GATE, "status": "open"}, symbol="contract",
            page=100, turn=Turn(param="offset", by_count=True), names=_GATE_PRICE_ORDER,
        ),
        Surface.FILLS: Listing(
            method="privateFuturesGetSettleMyTradesTimerange", params=_GATE, symbol="contract", page=100,
            turn=Turn(param="offset", by_count=True), span=Span(since="from", in_seconds=True),
            names=Names(market="contract"),
        ),
    },
    order=Lookup(
        method="privateFuturesGetSettleOrdersOrderId", params=_GATE, symbol="", id_param="order_id",
        client_param="order_id", client_prefix="t-", names=_GATE_ORDER,
    ),
    conditional_order=Lookup(
        method="privateFuturesGetSettlePriceOrdersOrderId", params=_GATE, symbol="", id_param="order_id",
        client_param="order_id", names=_GATE_PRICE_ORDER,
    ),
)  # fmt: skip

WIRES: Mapping[str, Wire] = {"okx": OKX, "bybit": BYBIT, "bitget": BITGET, "gate": GATE}
