"""The budget: every ledger in one place. A request is granted whole, or deferred with the instant to ask again."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from fleetsync.config import Settings
from fleetsync.ledger import Ledger
from fleetsync.tariff import Quota, Scope
from fleetsync.units import MINUTE_MS

OPERATOR = "operator"  # the ledger of the operator's own cap, over all exchanges

Charges = Sequence[tuple[Ledger, int]]


class Deferral(NamedTuple):
    """Not now: which ledger is in the way, and when to ask again."""

    ledger: Ledger | None  # None: it is not a quota but the route's circuit
    at_ms: int


class Budget:
    """All ledgers. Grants are all or none; a blocked ledger holds up only the work that needs it."""

    __slots__ = ("_followed", "_followed_ms", "_ledgers", "_left", "_settings", "freezes", "operator")

    def __init__(self, settings: Settings, *, now_ms: int) -> None:
        self._settings = settings
        self._ledgers: dict[str, Ledger] = {}
        self._followed = False  # this run is not known to be the first
        self._followed_ms: int | None = None  # until when an earlier run may have sent; None: runs leave no trace
        self.freezes: dict[str, int] = {}  # of an earlier run, for ledgers that are not made yet
        self._left: set[str] = set()  # accounts that are gone, and may have ledgers that are not at rest
        cap = Quota(OPERATOR, Scope.EGRESS, settings.calls_per_minute, MINUTE_MS)
        self.operator = self.ledger(OPERATOR, cap, biggest=dispatch_calls_max(cap.limit), now_ms=now_ms)

    def ledger(self, key: str, quota: Quota, *, biggest: int, now_ms: int, owner: str = "") -> Ledger:
        """The ledger of `key`, made when it is new. `biggest` is the largest single charge it has to admit."""
        ledger = self._ledgers.get(key)
        if ledger is None:
            ledger = Ledger(key, quota, biggest=biggest, settings=self._settings, now_ms=now_ms, owner=owner)
            self._ledgers[key] = ledger
            if self._followed:
                ledger.follow(self._followed_ms)
            ledger.freeze(self.freezes.pop(key, 0))
        return ledger

    def request(self, charges: Charges, now_ms: int, *, urgent: bool, later: Charges = ()) -> Deferral | None:
        """Charge all, or none: None is a grant; otherwise the ledger that opens last, and when.

        Ledgers are made with the largest charge they have to admit; the planner cuts its plans to that size. `later` is
        what of the charges is for pages after the first; it has to be released when their call is over.
        """
        at_ms, blocking = now_ms, None
        for ledger, units in charges:
            opens_at_ms = ledger.opens_at_ms(units, now_ms, urgent=urgent)
            if opens_at_ms > at_ms:
                at_ms, blocking = opens_at_ms, ledger
        if blocking is not None:
            return Deferral(blocking, at_ms)
        held = dict(later) if later else None
        for ledger, units in charges:
            ledger.charge(units - held.get(ledger, 0) if held else units, now_ms)
        for ledger, units in later:
            ledger.held += units
            ledger.granted += units
        return None

    def release(self, later: Charges, now_ms: int) -> None:
        """The call whose later pages were held is over, or given up: none of them will leave any more."""
        for ledger, units in later:
            ledger.held -= units
            ledger.granted -= units
            ledger.charge(units, now_ms)  # from here on they drain like all others

    def follow(self, ended_ms: int | None) -> None:
        """An earlier run of this engine may have sent calls until `ended_ms`; None: runs know nothing of each other."""
        self._followed, self._followed_ms = True, ended_ms
        for ledger in self._ledgers.values():
            ledger.follow(ended_ms)

    def set_calls_per_minute(self, limit: int, now_ms: int) -> None:
        """Change the operator's cap; it holds from the next request on."""
        self.operator.set_limit(limit, dispatch_calls_max(limit), self._settings.urgent_share, now_ms)

    def freeze(self, key: str, until_ms: int) -> bool:
        """Freeze one ledger; False when there is none of that key."""
        ledger = self._ledgers.get(key)
        if ledger is None:
            return False
        ledger.freeze(until_ms)
        return True

    def account_left(self, account: str) -> None:
        """An account is gone. What it has spent counts for as long as the exchange counts it: it may come back."""
        self._left.add(account)

    def tidy(self, staying: Collection[str], now_ms: int) -> None:
        """Drop the ledgers of accounts that are gone, once they are at rest; call it now and then."""
        self._left = {account for account in self._left if account not in staying}
        if not self._left:
            return
        theirs = [ledger for ledger in self._ledgers.values() if ledger.owner in self._left]
        for ledger in theirs:
            if ledger.is_at_rest(now_ms):
                del self._ledgers[ledger.key]
        self._left = {ledger.owner for ledger in theirs if ledger.key in self._ledgers}

    def get(self, key: str) -> Ledger | None:
        """The ledger of `key`, if there is one."""
        return self._ledgers.get(key)

    def ledgers(self) -> list[Ledger]:
        """Every ledger, the operator's first."""
        return list(self._ledgers.values())


def dispatch_calls_max(calls_per_minute: int) -> int:
    """How many calls one grant may hold: few enough that the bucket which admits them costs little of the budget."""
    return max(1, min(8, calls_per_minute // 75))
