"""The leader and its views: one ccxt client with the markets in it, and a thin copy of it for each account.

A client of its own costs an account 11 MiB; a view costs 10 KiB. The leader's class is made here over ccxt's: it
refuses broken bodies, takes its time from our clock, and tells the meter what ccxt holds a request to cost.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

from fleetsync.model import Account
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.ccxt_describe import exchange_class, units
from fleetsync_adapters.ccxt_errors import broken_body
from fleetsync_adapters.ccxt_session import CURRENT, LAST, MeteredSession

MET = "_fleetsync_met"  # the attribute of an error that holds the request which met it

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
    "kucoinfutures": {"uta": False},  # else each account asks for its own mode first; the operator may say True
    "htx": {"fetchMarkets": {"types": {"spot": False, "linear": True, "inverse": False}}},
}

# Ccxt logs whole requests at debug level, headers with keys in them included: whatever the program's logging says, no.
_SILENCE = logging.Logger("ccxt", level=logging.CRITICAL + 1)  # noqa: LOG001  so that no configuration can reach it

_NO_POSITIONS = {"spot", "margin", "option", "stock"}

Envelopes = tuple[frozenset[str], ...]

# What an answer that is no error must hold (one of these sets of keys), by exchange: half an answer would otherwise
# read as "nothing there".
ENVELOPES: dict[str, Envelopes] = {
    "okx": (frozenset({"code", "data"}),),
    "bybit": (frozenset({"retCode", "result"}),),
    "bitget": (frozenset({"code", "data"}),),
    "kucoinfutures": (frozenset({"code", "data"}),),
    "htx": (frozenset({"data"}), frozenset({"status", "ts"})),  # the second is what its clock says
    "bingx": (frozenset({"code", "data"}),),
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
    if not OPTIONS.get(spec.exchange) and "fetchMarkets" not in spec.options:
        leader.options = {**leader.options, "fetchMarkets": contracts_only(leader.options.get("fetchMarkets"))}
    leader.verbose, leader.logger = False, _SILENCE
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
    envelopes = ENVELOPES.get(exchange, ())

    def handle_errors(
        self: Any, code: int, reason: str, url: str, method: str, headers: Any, body: str, response: Any, *sent: Any
    ) -> None:
        last = LAST.get()
        if last is not None:
            last.heard(response)
        if code < 400 and is_no_answer(response, envelopes):  # before ccxt takes it for an error of its own making
            raise broken_body(f"{exchange}: not the body that was asked for, status {code}")
        base.handle_errors(self, code, reason, url, method, headers, body, response, *sent)
        if code < 400 and is_half_answer(response, envelopes):
            raise broken_body(f"{exchange}: only half of what was asked for, status {code}")

    async def fetch2(
        self: Any, path: str, api: Any = "public", method: str = "GET", params: Any = None, config: Any = None
    ) -> Any:
        meter = CURRENT.get()
        if meter.by_ccxt:
            meter.ccxt_weight = units(self.calculate_rate_limiter_cost(api, method, path, params or {}, config or {}))
        request = self.sign(path, api, method, params or {})  # a retry would be a call: only the engine decides on it
        return await self.fetch(request["url"], request["method"], request["headers"], request["body"])

    async def fetch(self: Any, *request: Any) -> Any:
        LAST.set(None)
        try:
            return await base.fetch(self, *request)
        except Exception as error:
            vars(error)[MET] = LAST.get()  # the error carries its own request: others may be under way
            raise

    ours = {
        "fetch": fetch,
        "handle_errors": handle_errors,
        "fetch2": fetch2,
        "milliseconds": lambda _self: now_ms(),
        "seconds": lambda _self: now_ms() // 1000,
        "__del__": lambda _self: None,  # ccxt's own would complain about each view that is dropped
    }
    return type(exchange, (base,), ours)  # the same name: ccxt looks things up by it


def is_no_answer(response: object, envelopes: Envelopes) -> bool:
    """Whether a body can be no answer at all: no JSON, an empty object, a bare value, nothing of the envelope."""
    if not isinstance(response, Mapping | list) or response == {}:
        return True
    return bool(envelopes) and not (isinstance(response, Mapping) and response.keys() & frozenset().union(*envelopes))


def is_half_answer(response: object, envelopes: Envelopes) -> bool:
    """Whether an answer that tells of no error lacks what an answer must hold."""
    if not envelopes or not isinstance(response, Mapping):
        return False
    held = {key for key, value in response.items() if value is not None}
    return not any(keys <= held for keys in envelopes)


def contracts_only(fetch_markets: Any) -> Any:
    """Ccxt's option for the markets to load, without kinds that hold no positions, if it has kinds."""
    if not isinstance(fetch_markets, Mapping) or "types" not in fetch_markets:
        return fetch_markets
    types = fetch_markets["types"]
    if isinstance(types, Mapping):
        kept: Any = {kind: False if kind in _NO_POSITIONS else wanted for kind, wanted in types.items()}
    else:
        kept = [kind for kind in types if kind not in _NO_POSITIONS]
    return {**fetch_markets, "types": kept or types}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = dict(below)
    for key, value in above.items():
        nested = merged.get(key, {})
        nests = isinstance(value, Mapping) and isinstance(nested, Mapping)
        merged[key] = _merged(nested, value) if nests else value
    return merged
