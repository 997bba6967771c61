"""The whole simulated exchange behind its faces: books, limits, faults and ledger, and one entrance for requests.

The HTTP face and the direct port both come in here, so both are counted, refused and misled in the same way.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.paper import views
from fleetsync_adapters.paper.books import BookAccount, BookOrder, BookRules, Books, BookTrigger
from fleetsync_adapters.paper.faults import Fault, FaultRates, Faults, Misdeed
from fleetsync_adapters.paper.ledger import NO_ACCOUNT, Ledger
from fleetsync_adapters.paper.limits import LimitRules, Limits, Verdict
from fleetsync_adapters.paper.markets import Market, Markets
from fleetsync_adapters.paper.matching import Matching
from fleetsync_adapters.paper.orders import OrderDesk, Ticket

Row = TypeVar("Row")
_REPEATED_MAX_MS = 5 * MINUTE_MS  # no cache keeps an answer for longer
_QUESTIONS_KEPT = 200_000  # a forgotten question is answered as things are


@dataclass(frozen=True, slots=True)
class VenueRules:
    """How a venue is set up."""

    seed: int = 1
    accounts: int = 10
    markets: int = 600
    books: BookRules | None = None
    limits: LimitRules | None = None
    faults: FaultRates | None = None
    ledger_rows: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that has come in: its number in the ledger, what the limits say, and what will go wrong with it."""

    number: int
    verdict: Verdict
    faults: tuple[Fault, ...]

    def fault(self, *kinds: Misdeed) -> Fault | None:
        """The first misdeed of one of these kinds."""
        return next((one for one in self.faults if one.kind in kinds), None)


class Venue:
    """One simulated exchange."""

    def __init__(self, rules: VenueRules | None = None) -> None:
        """Open an exchange with its accounts."""
        self.rules = rules or VenueRules()
        self.markets = Markets(self.rules.seed, self.rules.markets)
        self.books = Books(self.markets, self.rules.books)
        self.matching = Matching(self.books)
        self.orders = OrderDesk(self.books, self.matching)
        self.limits = Limits(self.rules.limits)
        self.faults = Faults(self.rules.faults)
        self.ledger = Ledger(self.rules.ledger_rows)
        self.books.open_accounts(self.rules.accounts)
        self._asked_at_ms: dict[tuple[int, str, str], int] = {}

    def enter(self, at_ms: int, account: BookAccount | None, endpoint: str, weight: int, ip: str) -> Entry:
        """A request comes in: it is counted, then limits and faults decide what becomes of it."""
        if account is None:
            faults = self.faults.decide(endpoint, "")
            number = self.ledger.receive(at_ms, NO_ACCOUNT, endpoint, weight, ip)
        else:
            faults = self.faults.decide(endpoint, account.keys.id)
            number = self.ledger.receive(at_ms, account.keys.number, endpoint, weight, ip)
        verdict = self.limits.charge(ip, weight, at_ms)
        for fault in faults:
            if verdict.status != 200:
                break
            if fault.kind is Misdeed.THROTTLED:
                verdict = Verdict(429, verdict.used, fault.delay_ms or 1000, -1003)
            elif fault.kind is Misdeed.BANNED:
                until_ms = self.limits.ban(ip, at_ms, fault.delay_ms or None)
                verdict = Verdict(418, verdict.used, until_ms - at_ms, -1003)
        return Entry(number, verdict, faults)

    def cutoff_ms(self, entry: Entry, account: BookAccount, surface: str, symbol: str, at_ms: int) -> int | None:
        """As of when this question is answered; None: as things are."""
        question = (account.keys.number, surface, symbol)
        cutoff_ms: int | None = None
        for fault in entry.faults:
            if fault.kind is Misdeed.OLDER_STATE:
                cutoff_ms = at_ms - fault.delay_ms
            elif fault.kind is Misdeed.REPEATED:
                asked_at_ms = self._asked_at_ms.get(question, 0)
                cutoff_ms = asked_at_ms if asked_at_ms > at_ms - _REPEATED_MAX_MS else None
        if cutoff_ms is None and self.faults.remembers_questions:
            if len(self._asked_at_ms) >= _QUESTIONS_KEPT:
                self._asked_at_ms.clear()
            self._asked_at_ms[question] = at_ms
        return cutoff_ms

    def find_order(
        self, entry: Entry, account: BookAccount, at_ms: int, order_id: int, client_id: str
    ) -> views.OrderView | None:
        """One order as this request sees it."""
        if entry.fault(Misdeed.NOT_FOUND):
            return None
        cutoff_ms = self.cutoff_ms(entry, account, "order", str(order_id) or client_id, at_ms)
        found = views.find_order(
            self.books, account, at_ms, order_id=order_id, client_id=client_id, cutoff_ms=cutoff_ms
        )
        gone = found is not None and not found.order.is_open and entry.fault(Misdeed.FORGOTTEN) is not None
        return None if gone else found

    def find_trigger(
        self, entry: Entry, account: BookAccount, at_ms: int, trigger_id: int, client_id: str
    ) -> BookTrigger | None:
        """One conditional order as this request sees it."""
        if entry.fault(Misdeed.NOT_FOUND):
            return None
        cutoff_ms = self.cutoff_ms(entry, account, "trigger", str(trigger_id) or client_id, at_ms)
        found = views.find_trigger(
            self.books, account, at_ms, trigger_id=trigger_id, client_id=client_id, cutoff_ms=cutoff_ms
        )
        gone = found is not None and not found.is_open and entry.fault(Misdeed.FORGOTTEN) is not None
        return None if gone else found

    # -- what people do at the exchange's own pages

    def open_by_hand(self, account: BookAccount, ticket: Ticket, at_ms: int) -> BookOrder:
        """An order that no robot knows of."""
        return self.orders.place(account, ticket, at_ms)

    def close_by_hand(self, account: BookAccount, market: Market, at_ms: int) -> BookOrder | None:
        """Close whatever is open on a symbol; None when nothing is."""
        self.matching.touch(account, at_ms)
        position = account.positions.get(market.id)
        if position is None:
            return None
        number = len(account.orders)
        ticket = Ticket(
            market=market, side="SELL" if position.size > 0 else "BUY", type="MARKET", size=abs(position.size),
            reduce_only=True, client_id=f"web_{at_ms}{number:04d}",
        )
        return self.orders.place(account, ticket, at_ms)


def bend(rows: Iterable[Row], entry: Entry) -> list[Row]:
    """The rows of a list as this request's misdeeds leave them."""
    kept = list(rows)
    for fault in entry.faults:
        if fault.kind is Misdeed.EMPTY_LIST:
            kept = []
        elif fault.kind is Misdeed.SHORT_PAGE:
            kept = kept[: fault.rows]
        elif fault.kind is Misdeed.DOUBLED_ROWS:
            kept = [row for row in kept for _ in range(2)]
    return kept
