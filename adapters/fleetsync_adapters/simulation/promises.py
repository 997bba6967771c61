"""What the engine promises, each held by a checker that watches a world and names what was broken.

| promise             | file              | checked                                                              |
|---------------------|-------------------|----------------------------------------------------------------------|
| `quotas`            | `promises_budget` | with every request, as the exchange receives it                      |
| `grants`            | `promises_budget` | with every command, request, report and turn                         |
| `one_run`           | `promises_runs`   | with every command and request                                       |
| `nobody_forgotten`  | `promises_runs`   | each second                                                          |
| `fair_turns`        | `promises_turns`  | with every command and each second, undisturbed                      |
| `stretch_is_used`   | `promises_turns`  | with every command and turn, undisturbed                             |
| `events_served`     | `promises_events` | with every message and commit; at the end                            |
| `syncs_answered`    | `promises_events` | with every message and answer; each second                           |
| `truth`             | `promises_truth`  | with every committed change, against the exchange's own history      |
| `ages`              | `promises_ages`   | each second, against the readings and the exchange's books           |
| `numbers`           | `promises_state`  | with every committed change                                          |
| `replay`            | `promises_state`  | with every commit, for the rows it touches; all rows at each crash   |
| `bounded_memory`    | `promises_state`  | each second; large fleets every five minutes                         |
| `convergence`       | `liveness`        | after the faults have stopped                                        |
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.readings import Readings

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_BREACHES_MAX = 20


@dataclass(frozen=True, slots=True)
class Breach:
    """One promise broken at one instant."""

    promise: str
    at_ms: int
    text: str


class Enough(Exception):
    """What was looked for was found: nothing after it matters."""


class Promise(Observer):
    """A checker. `sentence` is the promise; `breaches` are what it found, the first ones."""

    name: ClassVar[str] = ""
    sentence: ClassVar[str] = ""

    def __init__(self) -> None:
        """Nothing broken yet."""
        self.breaches: list[Breach] = []
        self.ends_the_run = False  # with its first breach
        self._world: World | None = None
        self.readings = Readings()

    @property
    def world(self) -> "World":
        """The world that is watched."""
        assert self._world is not None, "a promise is bound to its world before it starts"
        return self._world

    def bind(self, world: "World", readings: Readings) -> None:
        """Watch this world; `readings` is what can be known in it."""
        self._world, self.readings = world, readings

    def broken(self, text: str) -> None:
        """Note a breach."""
        if len(self.breaches) < _BREACHES_MAX:
            self.breaches.append(Breach(self.name, self.world.now_ms, text))
        if self.ends_the_run:
            raise Enough

    def held(self, good: bool, text: Callable[[], str]) -> None:
        """Note a breach unless `good`."""
        if not good:
            self.broken(text())
