"""A sync in flight: which calls went for which account, and whom they serve."""

from dataclasses import dataclass, field

from fleetsync.fleet import AccountState, Route
from fleetsync.messages import Call


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
    urgent_slots: dict[int, int] = field(default_factory=dict)  # robot -> read since when
