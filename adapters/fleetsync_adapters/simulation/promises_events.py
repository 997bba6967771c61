"""Every accepted event is served, every forced sync is answered."""

from collections.abc import Sequence
from typing import ClassVar

from fleetsync.messages import FromWorker
from fleetsync.ports import Batch
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.promises import Promise
from fleetsync_adapters.simulation.world import World

_ANSWER_MS = 20_000  # beyond its deadline a forced sync waits for no more than a slow commit, tried again ...
_AFTERWARDS_MS = 5_000  # ... and where the store refused for longer, for the next commit after that


class EventsServed(Promise):
    """Follows each event from the commit that accepts it to the commit that holds its outcome."""

    name: ClassVar[str] = "events_served"
    sentence: ClassVar[str] = "Every accepted event is served, over crashes too: its robot is read whole after it."

    def __init__(self) -> None:
        """No event yet."""
        super().__init__()
        self.pending: dict[int, tuple[str, int]] = {}  # event -> (robot, instant)
        self._told: dict[int, str] = {}
        self._judged: set[int] = set()

    def notified(self, at_ms: int, event: int, robot: str) -> None:
        """An event is handed over; not accepted yet."""
        self._told[event] = robot

    def received(self, at_ms: int, message: FromWorker) -> None:
        """Nothing counts as served by a message that leaves a question about its robot open."""
        life = self.world.life
        for event, _ in life.core.journal.served if life is not None else ():
            if event not in self._judged and life is not None:
                self._judged.add(event)
                robot = self.pending[event][0] if event in self.pending else self._told.get(event, "")
                if is_disputed(life, robot):
                    self.broken(f"event {event} of {robot} counts as served while it is disputed")

    def crashed(self, at_ms: int, life: Life) -> None:
        """What was not committed was not accepted."""
        self._told.clear()
        self._judged.clear()

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """Events are accepted, and leave when they are served or nobody is left to serve."""
        for event, row in batch.events.items():
            if row is not None:
                self.pending.setdefault(event, (row["robot"], row["at_ms"]))
                continue
            known = self.pending.pop(event, None)
            self._told.pop(event, None)
            if known is not None:
                self._check_served(event, *known)

    def _check_served(self, event: int, robot: str, at_ms: int) -> None:
        life = self.world.life
        if life is None or robot not in self.world.robots:
            return
        slot = life.core.fleet.slot_of.get(robot)
        if slot is None or slot in life.core.fleet.stopped or life.core.fleet.state_of(slot).stopped:
            return
        if robot in self.world.moved:
            return
        if self.readings.whole(self.world.robots[robot]) < at_ms:
            self.broken(f"event {event} of {robot} counts as served, but the robot was not read after it")

    def left(self) -> list[str]:
        """Accepted events of robots that could be served and were not, and handed over ones that were not accepted."""
        life = self.world.life
        if life is None:
            return [f"event {event} of {robot}" for event, (robot, _) in self.pending.items()]
        fleet = life.core.fleet
        missing = [f"event {event} of {robot}, never written down" for event, robot in self._told.items()
                   if event not in self.pending]
        for event, (robot, at_ms) in self.pending.items():
            slot = fleet.slot_of.get(robot)
            if slot is not None and slot not in fleet.stopped and not fleet.state_of(slot).stopped:
                missing.append(f"event {event} of {robot}, {self.world.now_ms - at_ms} ms old")
        return missing


def is_disputed(life: Life, robot: str) -> bool:
    """Whether anything about a robot is open, stopped or not."""
    fleet = life.core.fleet
    slot = fleet.slot_of.get(robot)
    book = None if slot is None else fleet.state_of(slot).books.get(fleet.symbols[slot])
    return book is not None and bool(book.doubts)


class SyncsAnswered(Promise):
    """Follows each forced sync to its answer."""

    name: ClassVar[str] = "syncs_answered"
    sentence: ClassVar[str] = "Every forced sync is answered in its time: with a proof, or with what was missing."

    def __init__(self) -> None:
        """Nobody waits."""
        super().__init__()
        self._held_up_at_ms = 0  # when last the store or a pause held the answers up
        self._waiting: dict[int, tuple[str, int, int]] = {}  # token -> (robot, asked at, deadline)
        self._judged: set[int] = set()

    def asked(self, at_ms: int, token: int, robot: str, deadline_ms: int) -> None:
        """Somebody waits."""
        self._waiting[token] = robot, at_ms, deadline_ms

    def received(self, at_ms: int, message: FromWorker) -> None:
        """Nothing is proven by a message that leaves a question about its robot open."""
        life = self.world.life
        for token, why_not in life.core.journal.answered if life is not None else ():
            if token not in self._judged and life is not None:
                self._judged.add(token)
                if not why_not and is_disputed(life, self._waiting.get(token, ("", 0, 0))[0]):
                    self.broken(f"forced sync {token} counts as proven while its robot is disputed")

    def answered(self, at_ms: int, token: int, why_not: str) -> None:
        """Somebody was answered."""
        robot, asked_at_ms, deadline_ms = self._waiting.pop(token, ("", 0, 0))
        if not robot:
            self.broken(f"forced sync {token} was answered, but nobody waits for it")
            return
        if why_not and at_ms < deadline_ms and not ("stopped" in why_not or "removed" in why_not):
            self.broken(f"forced sync {token} of {robot} was given up {deadline_ms - at_ms} ms early: {why_not}")
        life = self.world.life
        slot = life.core.fleet.slot_of.get(robot) if life is not None else None
        if why_not or slot is None or life is None or robot in self.world.moved:
            return
        if self.readings.whole(self.world.robots[robot]) < asked_at_ms:
            self.broken(f"forced sync {token} of {robot} counts as proven, but the robot was not read since")

    def crashed(self, at_ms: int, life: Life) -> None:
        """Who waited has lost the connection."""
        self._waiting.clear()
        self._judged.clear()

    def second(self, at_ms: int, world: World) -> None:
        """Nobody waits for ever."""
        if world.life is None or at_ms < world.life.paused_until_ms or world.life.committing:
            self._held_up_at_ms = at_ms
            return
        for token, (robot, _, deadline_ms) in list(self._waiting.items()):
            if at_ms > max(deadline_ms + _ANSWER_MS, self._held_up_at_ms + _AFTERWARDS_MS):
                self.broken(f"forced sync {token} of {robot} had no answer {at_ms - deadline_ms} ms after its deadline")
                del self._waiting[token]
