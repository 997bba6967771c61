"""Making a failing seed small: fewer kinds of fault, fewer robots, less time, single strikes left out.

Each step tries a smaller world and keeps it when it still breaks the same promise. What is left is short enough to be
read, and `story` tells it in numbered lines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from fleetsync.messages import AddAccount, Call, FromWorker, SyncDone, ToWorker, WorkerLost, WorkerUp
from fleetsync.ports import Batch
from fleetsync_adapters.simulation.life import Life
from fleetsync_adapters.simulation.observe import Observer
from fleetsync_adapters.simulation.swarm import Options
from fleetsync_adapters.simulation.trial import Verdict, attempt
from fleetsync_adapters.simulation.workload import Deed

_TRIES_MAX = 150
_STRIKES_SINGLY = 40  # with at most so many strikes left, each is tried without


def shrink(options: Options, *, tries_max: int = _TRIES_MAX, tell: Callable[[str], None] = lambda _: None) -> Verdict:
    """The smallest world found that breaks a promise which `options` break; its verdict."""
    best = attempt(options)
    if best.good:
        return best
    broken = _broken(best)
    first = best.breaches[0].promise if best.breaches and not best.error else ""
    tries = 0
    smaller = True
    while smaller:
        smaller = False
        for what, candidate in _smaller(best):
            if tries >= tries_max:
                return best
            tries += 1
            verdict = attempt(candidate, until_broken=first)
            if _broken(verdict) & broken:
                tell(f"without {what} it still breaks {', '.join(sorted(_broken(verdict) & broken))}")
                best, smaller = verdict, True
                break
    return best


def _broken(verdict: Verdict) -> set[str]:
    return {breach.promise for breach in verdict.breaches} | ({"error"} if verdict.error else set())


def _smaller(verdict: Verdict) -> Iterator[tuple[str, Options]]:
    """Smaller worlds, the boldest steps first."""
    options = verdict.options
    for name in ("misdeeds", "strikes"):
        kinds = list(getattr(options, name).items())
        for part in _halves(kinds):
            yield f"{len(part)} kinds of {name}", _changed(options, name, dict(one for one in kinds if one not in part))
    yield from _fewer(options)
    yield from _plainer(options)
    if options.strikes:
        struck = _struck(options)
        for strike in struck if len(struck) <= _STRIKES_SINGLY else ():
            yield strike, replace(options, skip=options.skip | {strike})


def _fewer(options: Options) -> Iterator[tuple[str, Options]]:
    if options.robots > 1:
        for robots in dict.fromkeys((max(options.robots // 2, 1), options.robots - 1)):
            fewer = replace(options, robots=robots, accounts=min(options.accounts, robots))
            yield f"{options.robots - robots} robots", fewer
    for name, least in (("accounts", 1), ("egresses", 1), ("workers", 1), ("minutes", 1)):
        value = getattr(options, name)
        if value > least:
            yield f"{value - least} {name}", _changed(options, name, least)
            yield f"one of {value} {name}", _changed(options, name, value - 1)


def _plainer(options: Options) -> Iterator[tuple[str, Options]]:
    for name, plain in (("orders_per_hour", 0.0), ("conditional", False), ("shared_books", False), ("mode", "fixed"),
                        ("spend", "needed"), ("up_ms", (0, 0))):
        if getattr(options, name) != plain:
            yield name, _changed(options, name, plain)


def _halves(kinds: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """All, each half, then each single one."""
    if kinds:
        yield kinds
    if len(kinds) > 2:
        yield kinds[: len(kinds) // 2]
        yield kinds[len(kinds) // 2 :]
    if len(kinds) > 1:
        for kind in kinds:
            yield [kind]


def _changed(options: Options, name: str, value: Any) -> Options:
    return replace(options, **{name: value})


def _struck(options: Options) -> list[str]:
    class Strikes(Observer):
        def struck(self, at_ms: int, fault: str, detail: str) -> None:
            if ":" in fault:
                found.append(fault)

    found: list[str] = []
    attempt(options, [Strikes()])
    return found


class Story(Observer):
    """Tells what happens, in words; `lines` are (instant, text)."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.lines: list[tuple[int, str]] = []

    def begun(self, at_ms: int, life: Life) -> None:
        """An engine."""
        self.lines.append((at_ms, f"engine {life.number} starts"))

    def crashed(self, at_ms: int, life: Life) -> None:
        """Its end."""
        self.lines.append((at_ms, f"engine {life.number} is killed"))

    def struck(self, at_ms: int, fault: str, detail: str) -> None:
        """A fault."""
        self.lines.append((at_ms, f"! {fault.replace('_', ' ')} {detail}".rstrip()))

    def acted(self, at_ms: int, deed: Deed) -> None:
        """A deed."""
        told = "and tells" if deed.announced else "and tells nobody"
        action = deed.action.replace("_", " ")
        self.lines.append((at_ms, f"{deed.robot}: {action} {deed.symbol} on {deed.account} {told}"))

    def notified(self, at_ms: int, event: int, robot: str) -> None:
        """An event."""
        self.lines.append((at_ms, f"event {event} of {robot}"))

    def sent(self, at_ms: int, worker: int, message: ToWorker) -> None:
        """A command."""
        if not isinstance(message, AddAccount):
            asked = ", ".join(_asked(call) for call in getattr(message, "calls", ()))
            about = f"{getattr(message, 'account', '')} {asked}" if asked else "the markets"
            self.lines.append((at_ms, f"sync {getattr(message, 'sync_id', '')} to worker {worker}: {about}"))

    def received(self, at_ms: int, message: FromWorker) -> None:
        """A report."""
        if isinstance(message, SyncDone):
            said = "; ".join(
                f"{_asked(answer.call)}: "
                + (answer.fault.value if answer.fault else "as before" if answer.rows is None
                   else f"{len(answer.rows)} rows" + ("" if answer.complete else ", partial"))
                for answer in message.answers)
            self.lines.append((at_ms, f"sync {message.sync_id} is reported: {said}"))
        elif isinstance(message, WorkerUp | WorkerLost):
            how = "is up" if isinstance(message, WorkerUp) else f"is lost, {message.reason}"
            self.lines.append((at_ms, f"worker {message.worker} {how}"))

    def committed(self, at_ms: int, batch: Batch, served: Sequence[tuple[int, int]]) -> None:
        """A commit with something in it."""
        for change in batch.changes:
            what = f"change {change.number}: {change.kind} {change.key}"
            self.lines.append((at_ms, f"{what} on {change.account} {change.symbol} ({change.cause})"))
        self.lines.extend((at_ms, f"event {event} is {'served' if row is None else 'durable'}")
                          for event, row in batch.events.items())


def _asked(call: Call) -> str:
    return " ".join(part for part in (call.surface.value, call.symbol, call.order_id) if part)


def story(options: Options, *, lines_max: int = 200) -> list[str]:
    """What happened up to the first breach, the last `lines_max` of it, as numbered lines; then the breaches."""
    teller = Story()
    verdict = attempt(options, [teller])
    start_at_ms = teller.lines[0][0] if teller.lines else 0
    until_ms = verdict.breaches[0].at_ms if verdict.breaches else 1 << 62
    told = [line for line in teller.lines if line[0] <= until_ms]
    numbered = [f"{number:5}  {(at_ms - start_at_ms) / 1000:9.3f} s  {text}"
                for number, (at_ms, text) in enumerate(told, start=1)][-lines_max:]
    found = [f"       {(breach.at_ms - start_at_ms) / 1000:9.3f} s  BROKEN {breach.promise}: {breach.text}"
             for breach in verdict.breaches[:5]]
    if verdict.error:
        found.append(f"       BROKEN by {verdict.error}")
    return [*options.lines(), *(["skipped: " + ", ".join(sorted(options.skip))] if options.skip else []), *numbered,
            *found]
