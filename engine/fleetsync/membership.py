"""Membership: accounts come, are changed, are resumed, and go. The core's part of it that concerns whole accounts.

A sync that is out when its account goes, or is to be reached otherwise, is *void*: what it brings proves nothing about
the account as it is served now. Its report settles its grant like any other's, and until then no other sync of that
account leaves: two would ask at once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetsync.account import NOBODY, AccountState, Route
from fleetsync.book import MEMORY_MS, Book
from fleetsync.errors import ConfigError
from fleetsync.messages import Answer, RemoveAccount
from fleetsync.model import Account
from fleetsync.reconcile_orders import ENDED_KEPT
from fleetsync.sync import Sync
from fleetsync.trouble import lists_of
from fleetsync.units import MINUTE_MS

if TYPE_CHECKING:
    from fleetsync.core import Core


class Membership:
    """It shares the core's state."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self._left_at_ms: dict[str, int] = {}  # accounts that have gone lately
        self._tidied_at_ms = 0

    def add(self, account: Account, now_ms: int) -> None:
        """Serve an account from now on. One that has been there before is known as it was left, and read anew."""
        core = self._core
        if account.id in core.fleet.account_by_id:
            raise ConfigError(f"two accounts with the id {account.id!r}")
        state = core.fleet.add_account(account, core.roster.place(), now_ms)
        state.parked_until_ms = self._still_out_until_ms(account.id)
        self._thaw(state.route)
        self._adopt(state, now_ms)
        core.journal.account_changed(state)
        core.roster.joined(state)

    def remove(self, account_id: str, now_ms: int) -> None:
        """Serve an account and its robots no more. What it holds stays in the store, as of its last reading."""
        core = self._core
        state = core.fleet.account(account_id)
        for slot in list(state.slots):
            core.remove_robot(core.fleet.ids[slot])
        core.journal.account_removed(state)
        self._take_out(state)
        core.settlement.wakeups.remove(state.index)
        core.roster.left(state)
        core.commands.append((state.worker, RemoveAccount(account_id)))
        core.budget.account_left(account_id)
        self._left_at_ms[account_id] = now_ms
        core.fleet.remove_account(state)
        if not state.busy:
            core.fleet.free_index(state)

    def change(self, account: Account, now_ms: int) -> None:
        """Reach an account with other keys, or over another egress. Its robots, events and questions stay with it."""
        core = self._core
        state = core.fleet.account(account.id)
        if account.exchange != state.account.exchange:
            raise ConfigError(f"account {account.id!r} is on {state.account.exchange}, not on {account.exchange}",
                              hint="an account of another exchange is another account: add it under a name of its own")
        self._take_out(state)
        state.route.due -= len(state.waiting)
        state.waiting = NOBODY
        state.account = account
        route = core.fleet.route(account.exchange, account.egress, now_ms)
        if route is not state.route:
            self._reroute(state, route)
        # What it rests for was met on the old way, or by the old keys.
        state.parked_until_ms, state.failures = self._still_out_until_ms(account.id), 0
        # Nothing is said to be younger or older than it was read, but all of it is read again at once.
        state.positions_key_ms = state.orders_key_ms = state.conditional_key_ms = 0
        busy = core.in_flight.get(state.busy)
        for slot in () if state.stopped else state.slots:
            core.fleet.orders_key_ms[slot] = 0
            if slot in core.fleet.conditional_read:
                core.fleet.conditional_read[slot] = 0, core.fleet.conditional_read[slot][1]
            if slot not in core.fleet.stopped and (busy is None or slot not in busy.slots):
                route.robots.put(slot, route.stretch.now_ms(now_ms))
        core.timing.changed(state)
        core.journal.account_changed(state)
        core.roster.joined(state)
        core.settlement.next_step(state, now_ms)

    def resume(self, account_id: str, account: Account | None, now_ms: int) -> None:
        """Serve a stopped account again, with other keys or over another egress if these are given."""
        core, state = self._core, self._core.fleet.account(account_id)
        if account is not None:
            self.change(account, now_ms)
        state.stopped = state.last_fault = ""
        state.failures = 0
        core.journal.account_changed(state)
        core.roster.fresh[state.index] = state
        for slot in state.slots:
            if slot not in core.fleet.stopped:
                state.route.robots.put(slot, state.route.stretch.now_ms(now_ms))
                if slot in core.inbox.pending:
                    core.expedite(slot, now_ms)
        core.settlement.next_step(state, now_ms)  # it may have been stopped with a question open

    # -- syncs that were out meanwhile

    def reported(self, sync: Sync, answers: Sequence[Answer], now_ms: int) -> None:
        """A void sync's report: a limit that it met is one all the same."""
        for answer in answers:
            self._core.settlement.trouble.limited(sync, answer, now_ms)
        self.ended(sync, now_ms)

    def ended(self, sync: Sync, now_ms: int) -> None:
        """A void sync is over, or given up."""
        core, left = self._core, sync.state
        assert left is not None, "the loading of markets is never void"
        state = core.fleet.account_by_id.get(left.account.id)
        if state is left:
            core.settlement.abandon(sync, now_ms)  # who waited for it waits again
            return
        core.fleet.free_index(left)
        if state is not None:  # it came back meanwhile; the worker may have answered as the account that it is now
            state.parked_until_ms = 0
            state.wants_rows |= lists_of(sync.calls)
            core.settlement.next_step(state, now_ms)

    # -- now and then

    def tidy(self, now_ms: int) -> None:
        """Forget what was kept of accounts that are gone, as far as it tells nothing any more."""
        if now_ms < self._tidied_at_ms + MINUTE_MS:
            return
        self._tidied_at_ms = now_ms
        core = self._core
        core.budget.tidy(core.fleet.account_by_id, now_ms)
        for account, at_ms in list(self._left_at_ms.items()):
            if now_ms > at_ms + MEMORY_MS or account in core.fleet.account_by_id:
                core.journal.ended.pop(account, None)
                core.journal.closed.pop(account, None)
                del self._left_at_ms[account]

    # -- parts

    def _still_out_until_ms(self, account: str) -> int:
        """Until when a sync of an earlier membership may be out; 0: there is none. `ended` says when it is over."""
        return max([sync.give_up_at_ms for sync in self._core.in_flight.values()
                    if sync.void and sync.state is not None and sync.state.account.id == account
                    and self._core.fleet.account_by_id.get(account) is not sync.state], default=0)

    def _take_out(self, state: AccountState) -> None:
        """The account stands in no lane, and its sync that is out is void."""
        core, sync = self._core, self._core.in_flight.get(state.busy)
        if sync is not None:
            sync.void = True
        state.route.ready.remove(state.index)
        state.route.urgent.remove(state.index)
        core.roster.took_out(state)
        core.granter.drafts.forget(state)

    def _reroute(self, state: AccountState, route: Route) -> None:
        for slot in state.slots:
            state.route.robots.remove(slot)
        state.route = route
        self._thaw(route)

    def _thaw(self, route: Route) -> None:
        """A route that an earlier run left frozen stays so."""
        if until_ms := self._core.budget.freezes.pop(route.freeze_key, 0):
            route.freeze(until_ms)

    def _adopt(self, state: AccountState, now_ms: int) -> None:
        """Take over what an earlier run or membership left: known, though not yet read again; and what ended lately."""
        account, journal = state.account.id, self._core.journal
        positions, orders = journal.inherited.pop(account, ([], []))
        ended, closed = journal.ended.pop(account, []), journal.closed.pop(account, [])
        symbols = {row.symbol for row in (*positions, *closed)} | {order.symbol for order in (*orders, *ended)}
        for symbol in sorted(symbols):
            # as_of 1: it was read once, so what is found now is a change and not a first sight
            state.own("books")[symbol] = Book(
                account, symbol, tuple(row for row in positions if row.symbol == symbol),
                tuple(order for order in orders if order.symbol == symbol),
                ended=tuple(order for order in ended if order.symbol == symbol)[-ENDED_KEPT:],
                closed=tuple({row.side: row for row in closed if row.symbol == symbol}.values()),
                positions_as_of_ms=1, orders_as_of_ms=1, conditional_as_of_ms=1, told_at_ms=now_ms)
