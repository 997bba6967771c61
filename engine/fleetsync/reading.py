"""Reading answers: how far they reach, what they show of each book, and what follows from it.

A list speaks of every book it names and of every known book it leaves out; `reconcile` decides what either means.
"""

from collections.abc import Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from fleetsync.account import NOTHING, AccountState, Route
from fleetsync.book import MEMORY_MS, Book, Reconciled, Rules, Sight
from fleetsync.messages import Answer, Call
from fleetsync.model import Fault, Order, Position, Surface
from fleetsync.reconcile import reconcile
from fleetsync.sync import Sync
from fleetsync.tariff import CONDITIONAL_ORDER, question
from fleetsync.trouble import LISTS

if TYPE_CHECKING:
    from fleetsync.core import Core

_PAGES_MAX = 64  # no list is followed further; what is longer stays partial
_SIBLINGS_MAX = 32  # robots on the same symbol that one external change expedites
_SIBLINGS_SEEN = 256  # so many are looked through for them
_SIBLING_FRESH_MS = 1_000
_ROOMY_RATIO = 1.1  # intervals that are stretched by more say that every call is wanted elsewhere
_BY_HAND = frozenset({"external", "liquidation"})


class Reader:
    """The core's way from answers to books. It shares the core's state."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._rules_of: dict[tuple[Route, tuple[str, ...]], Rules] = {}
        self.proven_before = 0, 0  # (as_of, key) of the account's positions before the answers being read

    def stamp(self, state: AccountState, sync: Sync, answer: Answer) -> None:
        """Note until when and how far the account has been read."""
        fleet, call, as_of_ms = self._core.fleet, answer.call, answer.as_of_ms
        if call.surface not in LISTS and call.surface is not Surface.FILLS:
            return
        if not answer.complete:
            self._ask_for_more(state, call)
            return
        if state.agenda.pages:
            self._ask_for_less(state, answer)
        if call.surface is Surface.FILLS:
            return
        if call.surface is Surface.POSITIONS:
            self.stamp_positions(state, sync.key_ms, as_of_ms)
        elif not call.symbol:
            if call.surface is Surface.ORDERS:
                state.orders_key_ms, state.orders_as_of_ms = sync.key_ms, as_of_ms
            else:
                state.conditional_key_ms, state.conditional_as_of_ms = sync.key_ms, as_of_ms
        else:
            for slot in fleet.slots_on(state, call.symbol):
                if call.surface is Surface.ORDERS:
                    fleet.orders_key_ms[slot], fleet.orders_as_of_ms[slot] = sync.key_ms, as_of_ms
                else:
                    fleet.conditional_read[slot] = sync.key_ms, as_of_ms

    def stamp_positions(self, state: AccountState, key_ms: int, as_of_ms: int) -> None:
        """The account's positions were read; reports that overtake each other take nothing back."""
        stamps, index = self._core.fleet.stamps, state.index
        stamps.positions_key_ms[index] = max(stamps.positions_key_ms[index], key_ms)
        stamps.positions_as_of_ms[index] = max(stamps.positions_as_of_ms[index], as_of_ms)

    def _ask_for_more(self, state: AccountState, call: Call) -> None:
        """A list was cut short: read more pages the next time, as many as the quotas can ever hold at once."""
        surface, pages_max = call.surface, self._pages_most(state, call.surface)
        pages = state.pages.get(surface, state.route.tariff.parts.get(surface, 1))
        state.own("pages")[surface] = min(pages * 2, pages_max)
        if pages >= pages_max:
            text = f"account {state.account.id}: {surface} is longer than {pages_max} pages and stays partial"
            self._core.journal.notice("warning", f"pages:{state.account.id}:{surface}", text)

    def _pages_most(self, state: AccountState, surface: Surface) -> int:
        tariff = state.route.tariff
        weights = dict(tariff.cost(Call(surface)).weights) if surface.value in tariff.costs else {}
        most = [_PAGES_MAX, self._core.settings.calls_per_minute // 2]
        most += [quota.limit // 2 // weights[quota.name] for quota in tariff.quotas if weights.get(quota.name)]
        return max(min(most), 1)

    def _ask_for_less(self, state: AccountState, answer: Answer) -> None:
        """A list was read to its end: ask for no more pages than it has. Fills are of another length each time."""
        surface = answer.call.surface
        tariff = state.route.tariff
        page_rows, parts = tariff.page_rows.get(surface), tariff.parts.get(surface, 1)
        needed = parts
        if page_rows and surface is not Surface.FILLS:
            if answer.rows is None:
                return
            needed = len(answer.rows) // page_rows + parts  # whichever of them the rows are in
        pages = state.own("pages")
        if needed > parts:
            pages[surface] = min(needed, pages.get(surface, parts))
        else:
            pages.pop(surface, None)
            self._core.journal.over(f"pages:{state.account.id}:{surface}")
        state.pages = pages or NOTHING

    def collect(self, state: AccountState, answer: Answer, sights: dict[str, list[Sight]]) -> None:
        """Sort an answer's rows by the books they speak of; a list also speaks of every book it leaves out."""
        call = answer.call
        not_found = answer.fault is Fault.NOT_FOUND
        if answer.rows is None and not not_found:
            return  # the same as last time, and nothing was open then
        rows = answer.rows or ()
        cut_off = (call.surface is Surface.FILLS and not answer.complete
                   and call.pages >= self._pages_most(state, call.surface))
        if state.wants_rows and answer.complete:
            state.wants_rows -= {(call.surface, call.symbol)}
        if call.symbol:
            symbols = dict.fromkeys((call.symbol,))
        else:  # in an order that does not change from process to process: changes are numbered in it
            symbols = dict.fromkeys(state.books)
            symbols.update(dict.fromkeys(row.symbol for row in rows if self._is_ours(state, row)))
        for symbol in symbols:
            mine = tuple([row for row in rows if row.symbol == symbol])
            sights.setdefault(symbol, []).append(Sight(
                call.surface, answer.as_of_ms, answer.complete, mine,  # type: ignore[arg-type]  # one kind a surface
                call.order_id, call.client_id, call.since_ms, not_found, call.conditional, cut_off))

    def _is_ours(self, state: AccountState, row: object) -> bool:
        return isinstance(row, Position | Order) and bool(self._core.fleet.slots_on(state, row.symbol))

    def reconcile(self, state: AccountState, symbol: str, sights: Sequence[Sight], now_ms: int) -> list[int]:
        """Reconcile one book, and carry out what follows. Returns the robots it concerns."""
        core, fleet = self._core, self._core.fleet
        slots = fleet.slots_on(state, symbol)
        known = state.books.get(symbol) or self._new_book(state, symbol, slots)
        tariff, rules = state.route.tariff, self._rules(state.route, slots)
        result = reconcile(known, sights, core.inbox.announced(slots), rules, now_ms)
        self._keep(state, symbol, result, slots, now_ms)
        if tariff.positions_show_orders and known.is_quiet and not result.book.is_quiet:
            self._keep_proof(slots)
        named = any(sight.surface is Surface.POSITIONS and sight.rows for sight in sights)
        if tariff.positions_show_orders and result.book.is_quiet and (named or not known.is_quiet):
            # The newest list of positions may still name the symbol. One that is the same again would then be no proof
            # that no orders rest, but what a new order looks like, or one that its own list once left out.
            state.wants_rows |= {(Surface.POSITIONS, "")}
        if result.findings and any(isinstance(finding.after, Order) for finding in result.findings):
            # Several questions show orders: what one has told, the others do not know to be news.
            lists = (Surface.ORDERS, Surface.CONDITIONAL) if state.route.conditional else (Surface.ORDERS,)
            state.wants_rows |= {(surface, name) for surface in lists for name in ("", symbol)}
        if known.doubts and {doubt.key for doubt in known.doubts} - {doubt.key for doubt in result.book.doubts}:
            # What has dispelled a doubt may have been the wrong answer, and the list that raised it be the same again.
            state.wants_rows |= {(surface, name) for surface in LISTS for name in ("", symbol)}
        if result.findings:
            core.journal.record(fleet, state, symbol, result.findings)
        for wanted in result.questions:
            call = wanted.call
            if call.surface is Surface.FILLS:
                call = call._replace(pages=state.pages.get(Surface.FILLS, 1))
            self.ask(state, call, wanted.not_before_ms)
        if state.questions and not (result.questions or result.book.doubts):
            self._drop_questions(state, symbol, slots)
        if any(f.cause in _BY_HAND and f.kind.startswith("position") for f in result.findings):
            self._expedite_siblings(symbol, set(slots), now_ms)
        return slots

    def _rules(self, route: Route, slots: Sequence[int]) -> Rules:
        """The rules of a book, by its exchange and by whose orders are whose; most books go by the same."""
        prefix_of = self._core.fleet.prefix_of
        prefixes = tuple([prefix_of[slot] for slot in slots if slot in prefix_of])
        rules = self._rules_of.get((route, prefixes))
        if rules is None:
            rules = self._core.rules._replace(
                prefixes=prefixes, order_retention_ms=route.tariff.order_retention_ms,
                looks_up=Surface.ORDER.value in route.tariff.costs,
                looks_up_conditional=CONDITIONAL_ORDER in route.tariff.costs)
            if not prefixes:  # those of single robots would be as many as there are robots
                self._rules_of[route, prefixes] = rules
        return rules

    def _new_book(self, state: AccountState, symbol: str, slots: Sequence[int]) -> Book:
        """An empty book. Once a robot on it is known, it was read before: what appears then is not a first sight."""
        read = 1 if any(self._core.fleet.phase[slot] for slot in slots) else 0
        return Book(state.account.id, symbol, positions_as_of_ms=read, orders_as_of_ms=read, conditional_as_of_ms=read)

    def _keep_proof(self, slots: Sequence[int]) -> None:
        """While nothing was there, the list of positions proved that no orders were: that is not forgotten now."""
        fleet, (as_of_ms, key_ms) = self._core.fleet, self.proven_before
        for slot in slots:
            if slot not in fleet.unread:  # else its symbol was nobody's then, and its rows were left out
                fleet.orders_as_of_ms[slot] = max(fleet.orders_as_of_ms[slot], as_of_ms)
                fleet.orders_key_ms[slot] = max(fleet.orders_key_ms[slot], key_ms)

    def ask(self, state: AccountState, call: Call, at_ms: int) -> None:
        """Note an open question. The fills of one symbol are one question, from the earliest instant wanted."""
        if call.surface not in LISTS and question(call) not in state.route.tariff.costs:
            return  # this exchange cannot be asked that
        questions = state.own("questions")
        if call.surface is Surface.FILLS:
            for other in [one for one in questions if one.surface is Surface.FILLS and one.symbol == call.symbol]:
                at_ms = min(at_ms, questions.pop(other))
                call = call._replace(since_ms=min(call.since_ms, other.since_ms), pages=max(call.pages, other.pages))
        questions[call] = min(questions.get(call, at_ms), at_ms)

    def _drop_questions(self, state: AccountState, symbol: str, slots: Sequence[int]) -> None:
        """Nothing about this book is open any more, so nothing has to be asked about it; events ask for themselves."""
        if not any(slot in self._core.inbox.pending for slot in slots):
            for call in [call for call in state.questions if call.symbol == symbol]:
                del state.own("questions")[call]

    def _keep(self, state: AccountState, symbol: str, result: Reconciled, slots: Sequence[int], now_ms: int) -> None:
        book, pending = result.book, self._core.inbox.pending
        if book.is_quiet and book.told_at_ms < now_ms - MEMORY_MS and not any(slot in pending for slot in slots):
            state.own("books").pop(symbol, None)
            state.books = state.books or NOTHING
        else:
            state.own("books")[symbol] = book

    def _expedite_siblings(self, symbol: str, own: set[int], now_ms: int) -> None:
        """A hand that closed one position may be closing others on the same symbol: look at them at once.

        Where the budget has room for a guess: in a fleet that it cannot serve, each change found would put guesses in
        front of those who wait longest, and most of what is found there was never announced.
        """
        fleet, expedited = self._core.fleet, 0
        slots = fleet.same_symbol(symbol)
        start = self._core.rng.randrange(len(slots)) if len(slots) > _SIBLINGS_MAX else 0
        roomy = [route for route in fleet.routes.values() if route.stretch.ratio <= _ROOMY_RATIO]
        for slot in islice(chain(slots[start:], slots[:start]), _SIBLINGS_SEEN if roomy else 0):
            if expedited >= _SIBLINGS_MAX:
                return
            if slot in own or fleet.state_of(slot).route not in roomy:
                continue
            if fleet.age_as_of(slot) < now_ms - _SIBLING_FRESH_MS:
                self._core.expedite(slot, now_ms)
                expedited += 1

    def has_doubts(self, state: AccountState) -> bool:
        """Whether anything about the account is disputed: then answers must carry their rows."""
        return any(book.doubts or book.hides_orders for book in state.books.values())
