"""A sync in flight: which calls went for which account, and whom they serve."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetsync.account import AccountState, Route
from fleetsync.budget import Charges
from fleetsync.messages import Call, SyncDone


@dataclass(slots=True, eq=False)
class Sync:
    """One dispatch from its grant to its report."""

    id: int
    state: AccountState | None  # None: the loading of an exchange's markets
    route: Route
    worker: int
    calls: tuple[Call, ...]
    slots: list[int]  # robots that were waiting for it
    key_ms: int  # stretched instant from which their next run counts
    started_at_ms: int
    give_up_at_ms: int
    urgent: bool
    urgent_slots: Mapping[int, int]  # robot -> read since when
    later: Charges = ()  # what is held for its calls' later pages, until it is over
    void: bool = False  # its account has left, or is reached otherwise since: what it brings proves nothing

    def record(self, done: SyncDone, now_ms: int) -> dict[str, Any]:
        """As the store keeps it, for replay and tuning."""
        assert self.state is not None, "only syncs of accounts are recorded"
        faults = [answer.fault.value for answer in done.answers if answer.fault is not None]
        return {
            "at_ms": now_ms, "account": self.state.account.id, "exchange": self.route.exchange,
            "calls": len(done.requests), "weight": sum(request.weight for request in done.requests),
            "due_at_ms": self.started_at_ms if self.urgent else self.route.stretch.real_ms(self.key_ms),
            "started_at_ms": self.started_at_ms, "done_at_ms": now_ms, "robots": len(self.state.slots),
            "changed": any(answer.rows is not None for answer in done.answers),
            "fault": faults[0] if faults else "",
        }
