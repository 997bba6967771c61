"""One trial of one seed: safety under faults, then liveness without, and the same workload undisturbed as control."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleetsync.units import MINUTE_MS
from fleetsync_adapters.simulation.garbage import Undertaker, seldom_collected
from fleetsync_adapters.simulation.liveness import Convergence, converge
from fleetsync_adapters.simulation.observe import History, Observer
from fleetsync_adapters.simulation.promises import Breach, Enough, Promise
from fleetsync_adapters.simulation.promises_ages import Ages
from fleetsync_adapters.simulation.promises_budget import Grants, Quotas
from fleetsync_adapters.simulation.promises_events import EventsServed, SyncsAnswered
from fleetsync_adapters.simulation.promises_runs import NobodyForgotten, OneRun
from fleetsync_adapters.simulation.promises_state import BoundedMemory, Numbers, Replay
from fleetsync_adapters.simulation.promises_truth import Truth
from fleetsync_adapters.simulation.promises_turns import FairTurns, StretchIsUsed
from fleetsync_adapters.simulation.readings import Readings
from fleetsync_adapters.simulation.swarm import Options, build
from fleetsync_adapters.simulation.world import World

_WARM_UP_MS = 2 * MINUTE_MS  # first runs are spread; from then on nobody may be late

PROMISES: tuple[type[Promise], ...] = (Quotas, Grants, OneRun, NobodyForgotten, FairTurns, StretchIsUsed, EventsServed,
                                       SyncsAnswered, Truth, Ages, Numbers, Replay, BoundedMemory)


@dataclass(slots=True)
class Verdict:
    """What one trial found."""

    options: Options
    digest: str = ""
    breaches: list[Breach] = field(default_factory=list)
    calls: int = 0
    changes: int = 0
    events: int = 0
    lives: int = 0
    strikes: int = 0
    effects: Counter[str] = field(default_factory=Counter)  # how often each fault did something
    converged_ms: int = 0
    virtual_ms: int = 0
    error: str = ""
    interrupted: bool = False  # somebody ended it: what is here was found until then

    @property
    def good(self) -> bool:
        """Every promise was kept."""
        return not self.breaches and not self.error


def attempt(options: Options, observers: Sequence[Observer] = (),
            script: Callable[[World], None] | None = None, until_broken: str = "", *,
            interruptible: bool = False) -> Verdict:
    """Run one trial; what it finds is in the verdict, an exception of the engine too.

    Args:
        options: what is simulated.
        observers: who else looks on.
        script: is handed the world before it starts, to plan things that no seed draws.
        until_broken: a promise whose first breach ends the run.
        interruptible: whether Ctrl-C ends the run with what it has found so far, instead of going through.
    """
    verdict = Verdict(options)
    promises: list[Promise] = [make() for make in PROMISES]
    history, convergence, readings = History(), Convergence(), Readings()
    world = World(build(options), [readings, *promises, history, _Counter(verdict), Undertaker(), *observers])
    readings.bind(world)
    if script is not None:
        script(world)
    for promise in (*promises, convergence):
        promise.bind(world, readings)
        promise.ends_the_run = promise.name == until_broken
        if not world.chaos and isinstance(promise, NobodyForgotten | FairTurns | StretchIsUsed):
            promise.strict_from_ms = world.now_ms + _WARM_UP_MS
    try:
        with seldom_collected(options.robots):
            _run(world, promises, convergence, verdict)
    except Enough:
        pass
    except KeyboardInterrupt:
        if not interruptible:
            raise
        verdict.interrupted = True
    except AssertionError as error:
        verdict.error = f"an assertion failed: {error}"
    except Exception as error:  # noqa: BLE001 whatever the engine raises is what we look for
        verdict.error = f"{type(error).__name__}: {error}"
    verdict.breaches = sorted((breach for promise in (*promises, convergence) for breach in promise.breaches),
                              key=lambda breach: breach.at_ms)
    verdict.digest, verdict.lives = history.digest, world.lives
    verdict.effects = +world.effects
    verdict.calls, verdict.changes = world.venue.ledger.total.calls, world.store.last_change
    verdict.virtual_ms = world.now_ms - world.setup.start_at_ms - (world.end_at_ms - world.setup.end_at_ms)
    return verdict


def _run(world: World, promises: Sequence[Promise], convergence: Convergence, verdict: Verdict) -> None:
    """Both phases, and what can be told only at their end."""
    world.run()
    events = next(promise for promise in promises if isinstance(promise, EventsServed))
    verdict.converged_ms, found = converge(world, events.left)
    for line in events.left()[:5]:
        events.broken(f"{line}, was accepted and is not served")
    for line in found[:5]:
        convergence.broken(f"after {verdict.converged_ms // 1000} s: {line}")
    next(promise for promise in promises if isinstance(promise, Replay)).compare()


class _Counter(Observer):
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def struck(self, at_ms: int, fault: str, detail: str) -> None:
        self._verdict.strikes += 1

    def notified(self, at_ms: int, event: int, robot: str) -> None:
        self._verdict.events += 1
