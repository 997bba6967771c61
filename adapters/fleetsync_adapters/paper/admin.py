"""The admin endpoints below `/paper/`: what the exchange saw and holds, and what an operator does to it.

| endpoint             | given, and what it does                                                                |
|----------------------|----------------------------------------------------------------------------------------|
| GET ledger           | ?after=&limit=&account= rows of requests                                               |
| GET ledger/summary   | ?ip= exact totals                                                                      |
| POST ledger/clear    | starts the ledger again                                                                |
| GET books            | ?account= positions and open orders, unified symbols                                   |
| POST accounts        | count, balance: new accounts with their keys (the only answer with a secret in it)     |
| POST position        | account, symbol, and side with size or notional, or close: by hand                     |
| POST order / cancel  | account, symbol, side, type, size ... / account, order_id: by hand                     |
| POST liquidate       | account, symbol: the exchange takes the position over                                  |
| GET/POST/DELETE faults | orders, shares, seed, delay_ms, latency_ms, rows                                     |
| POST limits          | any number of the limits; forgive                                                      |
| POST clock           | skew_ms: of the clock that is shown; advance_ms: the exchange's time moves on          |
"""

import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from fleetsync.units import canonical
from fleetsync_adapters.paper.books import BookAccount
from fleetsync_adapters.paper.desk import Desk
from fleetsync_adapters.paper.faults import Misdeed, fault_order_from
from fleetsync_adapters.paper.holdings import account_holdings, unified_order
from fleetsync_adapters.paper.keys import account_id
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.orders import TRIGGER_TYPES, Ticket
from fleetsync_adapters.paper.refusals import Refusal, cannot_cancel
from fleetsync_adapters.paper.views import now

Json = dict[str, Any]
_WHOLE = re.compile(r"-?\d{1,15}")


class Clockwork:
    """The exchange's time: a real clock, moved forward on request."""

    def __init__(self, base_ms: Callable[[], int]) -> None:
        """Run on `base_ms`."""
        self._base_ms = base_ms
        self.advanced_ms = 0

    def now_ms(self) -> int:
        """The exchange's own instant."""
        return self._base_ms() + self.advanced_ms


class Admin:
    """Answers the admin endpoints of one desk."""

    def __init__(self, desk: Desk, clockwork: Clockwork) -> None:
        """Administer this desk."""
        self._desk = desk
        self._venue = desk.venue
        self._clockwork = clockwork
        self._skew_ms = 0
        self._actions: dict[str, Callable[[dict[str, str], Json], Any]] = {
            "GET ledger": self._ledger,
            "GET ledger/summary": self._summary,
            "POST ledger/clear": self._clear_ledger,
            "GET books": self._books,
            "POST accounts": self._open_accounts,
            "POST position": self._position,
            "POST order": self._order,
            "POST cancel": self._cancel,
            "POST liquidate": self._liquidate,
            "GET faults": self._faults,
            "POST faults": self._set_faults,
            "DELETE faults": self._clear_faults,
            "POST limits": self._limits,
            "POST clock": self._clock,
            "GET ready": lambda _params, _given: {"ready": True, "seed": self._venue.rules.seed},
        }

    async def handle(self, method: str, path: str, params: dict[str, str], raw: bytes) -> tuple[int, bytes]:
        """One admin request: status and JSON body."""
        action = self._actions.get(f"{method} {path}")
        if action is None:
            return 404, orjson.dumps({"error": f"no such admin endpoint: {method} {path}"})
        try:
            return 200, orjson.dumps(action(params, _object(raw)))
        except Refusal as refusal:
            return refusal.status, orjson.dumps({"error": refusal.msg, "code": refusal.code})
        except KeyError as error:
            return 400, orjson.dumps({"error": f"missing: {error.args[0]}"})
        except (ValueError, TypeError, InvalidOperation) as error:
            return 400, orjson.dumps({"error": str(error)})

    # -- what it saw and holds

    def _ledger(self, params: dict[str, str], _given: Json) -> Any:
        account = self._account(params["account"]).number if "account" in params else None
        kept = self._venue.ledger.rows(_whole(params, "after", -1), _whole(params, "limit", 1000), account)
        return {
            "rows": [{**asdict(row), "account": account_id(row.account) if row.account >= 0 else ""} for row in kept],
            "next_after": kept[-1].number if kept else _whole(params, "after", -1),
        }

    def _summary(self, params: dict[str, str], _given: Json) -> Any:
        ledger = self._venue.ledger
        by_account = {account_id(number) if number >= 0 else "": n for number, n in ledger.by_account.items()}
        return {
            **ledger.summary(params.get("ip")),
            "by_endpoint": dict(ledger.by_endpoint),
            "by_account": by_account,
            "by_status": {str(status): n for status, n in ledger.by_status.items()},
            "by_ip": {ip: ledger.summary(ip) for ip in ledger.by_ip},
        }

    def _clear_ledger(self, _params: dict[str, str], _given: Json) -> Any:
        self._venue.ledger.clear()
        return {}

    def _books(self, params: dict[str, str], _given: Json) -> Any:
        at_ms = self._clockwork.now_ms()
        chosen = [self._account(params["account"])] if "account" in params else self._venue.books.accounts
        held = {}
        for account in chosen:
            self._venue.matching.touch(account, at_ms)
            if "account" in params or account.positions or account.resting or account.waiting:
                held[account.id] = account_holdings(account)
        return {"at_ms": at_ms, "accounts": held}

    # -- what an operator does

    def _open_accounts(self, _params: dict[str, str], given: Json) -> Any:
        count = given.get("count", 1)
        if not isinstance(count, int) or not 1 <= count <= 100_000:
            raise ValueError(f"count must be between 1 and 100000, was {count!r}")
        balance = _decimal(given, "balance") if "balance" in given else None
        opened = self._venue.books.open_accounts(count, balance)
        return {"accounts": [
            {"id": one.id, "number": one.number, "api_key": one.keys.api_key, "secret": one.keys.secret}
            for one in opened
        ]}

    def _position(self, _params: dict[str, str], given: Json) -> Any:
        account, market = self._account(given["account"]), self._market(given["symbol"])
        at_ms = self._clockwork.now_ms()
        if given.get("close"):
            closed = self._venue.close_by_hand(account, market, at_ms)
            return {"order": None if closed is None else unified_order(now(closed))._asdict()}
        size = (market.smallest_size(at_ms, _decimal(given, "notional")) if "notional" in given
                else _decimal(given, "size"))
        ticket = Ticket(market=market, side=str(given["side"]).upper(), type="MARKET", size=size,
                        client_id=f"web_{at_ms}{self._venue.books.next_order_id() % 10_000:04d}")
        return {"order": unified_order(now(self._venue.open_by_hand(account, ticket, at_ms)))._asdict()}

    def _order(self, _params: dict[str, str], given: Json) -> Any:
        account, market = self._account(given["account"]), self._market(given["symbol"])
        at_ms = self._clockwork.now_ms()
        ticket = Ticket(
            market=market, side=str(given["side"]).upper(), type=str(given["type"]).upper(),
            size=_decimal(given, "size"), price=_decimal(given, "price", "0"), trigger=_decimal(given, "trigger", "0"),
            reduce_only=bool(given.get("reduce_only", False)), client_id=str(given.get("client_id", "")),
        )
        if ticket.type in TRIGGER_TYPES:
            return {"trigger_id": str(self._venue.orders.place_trigger(account, ticket, at_ms).id)}
        return {"order": unified_order(now(self._venue.open_by_hand(account, ticket, at_ms)))._asdict()}

    def _cancel(self, _params: dict[str, str], given: Json) -> Any:
        account, at_ms = self._account(given["account"]), self._clockwork.now_ms()
        number = int(given["order_id"])
        trigger = account.triggers.get(number)
        if trigger is not None:
            self._venue.orders.cancel_trigger(account, trigger, at_ms)
            return {"trigger_id": str(trigger.id)}
        order = account.orders.get(number)
        if order is None:
            raise cannot_cancel()
        return {"order": unified_order(now(self._venue.orders.cancel(account, order, at_ms)))._asdict()}

    def _liquidate(self, _params: dict[str, str], given: Json) -> Any:
        account, market = self._account(given["account"]), self._market(given["symbol"])
        closed = self._venue.orders.liquidate(account, market, self._clockwork.now_ms())
        return {"order": unified_order(now(closed))._asdict()}

    def _faults(self, _params: dict[str, str], _given: Json) -> Any:
        faults = self._venue.faults
        return {
            "seed": faults.rates.seed,
            "shares": {kind.value: share for kind, share in faults.rates.shares.items()},
            "pending": [{**asdict(one.fault), "endpoint": one.endpoint, "account": one.account, "count": one.count}
                        for one in faults.orders],
            "met": {kind.value: n for kind, n in faults.met.items()},
        }

    def _set_faults(self, params: dict[str, str], given: Json) -> Any:
        orders = [fault_order_from(one) for one in given.get("orders", [])]
        changes: Json = {}
        if "shares" in given:
            changes["shares"] = {_kind(kind): float(share) for kind, share in given["shares"].items()}
        changes |= {key: given[key] for key in ("seed", "rows") if key in given}
        changes |= {key: _span(given[key]) for key in ("delay_ms", "latency_ms") if key in given}
        _refuse_unknown(given, {"orders", "shares", "seed", "rows", "delay_ms", "latency_ms"})
        self._venue.faults.rates = replace(self._venue.faults.rates, **changes)
        self._venue.faults.order(orders)
        return self._faults(params, given)

    def _clear_faults(self, params: dict[str, str], given: Json) -> Any:
        self._venue.faults.clear()
        return self._faults(params, given)

    def _limits(self, _params: dict[str, str], given: Json) -> Any:
        names = {one.name for one in fields(LimitRules)}
        _refuse_unknown(given, names | {"forgive"})
        limits = self._venue.limits
        limits.rules = replace(limits.rules, **{key: value for key, value in given.items() if key in names})
        if given.get("forgive"):
            limits.forgive()
        return asdict(limits.rules)

    def _clock(self, _params: dict[str, str], given: Json) -> Any:
        _refuse_unknown(given, {"skew_ms", "advance_ms"})
        advance_ms = given.get("advance_ms", 0)
        if not isinstance(advance_ms, int) or advance_ms < 0:
            raise ValueError("advance_ms must be a whole number, 0 or more")
        self._skew_ms = int(given.get("skew_ms", self._skew_ms))
        self._clockwork.advanced_ms += advance_ms
        # Clients keep their own clocks: the shown one stays with theirs while the exchange's time moves on.
        self._desk.skew_ms = self._skew_ms - self._clockwork.advanced_ms
        return {"now_ms": self._clockwork.now_ms(), "skew_ms": self._desk.skew_ms}

    # -- words

    def _account(self, name: Any) -> BookAccount:
        account = self._venue.books.by_id.get(str(name))
        if account is None:
            raise ValueError(f"unknown account: {str(name)[:64]!r}")
        return account

    def _market(self, symbol: Any) -> Market:
        markets = self._venue.markets
        market = markets.by_symbol.get(str(symbol)) or markets.by_id.get(str(symbol))
        if market is None:
            raise ValueError(f"unknown symbol: {str(symbol)[:64]!r}")
        return market


def _object(raw: bytes) -> Json:
    given = orjson.loads(raw) if raw else {}
    if not isinstance(given, dict):
        raise TypeError("the body must be a JSON object")
    return given


def _whole(params: dict[str, str], name: str, default: int) -> int:
    text = params.get(name, str(default))
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{name} must be a whole number, was {text[:32]!r}")
    return int(text)


def _decimal(given: Json, name: str, default: str | None = None) -> Decimal:
    value = given[name] if default is None else given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{name} must be a decimal string, was {value!r}")
    return Decimal(canonical(Decimal(value)))


def _kind(name: str) -> Misdeed:
    if name not in set(Misdeed):
        raise ValueError(f"kind must be one of {', '.join(sorted(Misdeed))}, was {name!r}")
    return Misdeed(name)


def _span(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(type(one) is int for one in value):
        raise ValueError(f"a span is two whole numbers of milliseconds, was {value!r}")
    return (value[0], value[1])


def _refuse_unknown(given: Json, known: set[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"unknown key {key!r}; known are {', '.join(sorted(known))}")
