"""Why a robot is looked at when it is: phase, intervals and their reasons, next run, last cost."""

from typing import TYPE_CHECKING, Any

from fleetsync.model import Phase, Surface
from fleetsync.units import HOUR_MS

if TYPE_CHECKING:
    from fleetsync.account import AccountState
    from fleetsync.core import Core


def explain(core: "Core", robot_id: str, now_ms: int) -> dict[str, Any]:
    """Everything that decides a robot's next run, with words for people under `why`.

    Raises:
        UnknownRobot: no robot of that id.
    """
    fleet = core.fleet
    slot = fleet.slot(robot_id)
    state = fleet.state_of(slot)
    route, phase = state.route, Phase(fleet.phase[slot])
    interval_ms = core.timing.intervals_ms(slot, state)[phase]
    next_ms = _next_run_ms(core, slot, state, now_ms)
    as_of_ms = fleet.age_as_of(slot)
    calls = sum(call.pages for call in state.last_calls)
    weight = core.tolls.shared_weight(route, state.last_calls)
    return {
        "robot": robot_id, "account": state.account.id, "symbol": fleet.symbols[slot], "route": route.name,
        "phase": fleet.phase_seen(slot).name.lower(), "certainty": fleet.certainty(slot).value,
        "age_ms": now_ms - as_of_ms if as_of_ms else None,
        "interval_ms": interval_ms, "stretch": round(route.stretch.ratio, 3),
        "interval_now_ms": int(interval_ms * route.stretch.ratio), "why": _why(core, slot, state, phase),
        "next_run_in_ms": None if next_ms is None else max(next_ms - now_ms, 0), "now": _now(core, slot, state, now_ms),
        "surfaces_due_in_ms": _surfaces(core, slot, state, now_ms),
        "shares_its_calls_with": len(state.slots) - 1, "last_sync": {"calls": calls, "weight": weight},
        "open_questions": len(state.questions), "pending_events": len(core.inbox.pending.get(slot, ())),
    }


def _why(core: "Core", slot: int, state: "AccountState", phase: Phase) -> str:
    fleet = core.fleet
    if core.timing.adaptive is not None and phase is not Phase.UNKNOWN:
        source, rates = "given" if slot in fleet.rate_of else "learnt", core.timing.adaptive.rates
        return (f"adaptive: {rates.of_robot(slot) * HOUR_MS:.2g} unannounced changes an hour ({source}), an account "
                f"rate of {rates.of_account(state) * HOUR_MS:.2g}, between the floor and the ceiling of its phase")
    reasons = {
        Phase.HOLDING: "a position is open", Phase.WORKING: "orders rest, no position", Phase.FLAT: "nothing is held",
        Phase.UNKNOWN: "not proven yet: looked at as often as a holding robot",
    }
    own = " (its own interval)" if slot in fleet.intervals_of else ""
    priority = fleet.priority_of.get(slot)
    return reasons[phase] + own + (f", priority {priority:g} when the budget is scarce" if priority else "")


def _now(core: "Core", slot: int, state: "AccountState", now_ms: int) -> str:
    """What the robot is doing at this moment."""
    stopped = core.fleet.stopped.get(slot) or state.stopped
    blocked_ms = max(state.route.scheduled_blocked_ms, core.granter.scheduled_blocked_ms)
    cases = (
        (bool(stopped), f"stopped: {stopped}"),
        (state.busy > 0, "its account is being read"),
        (state.parked_until_ms > now_ms, f"its account rests after: {state.last_fault or 'a limit'}"),
        (state.route.circuit.is_open, f"{state.route.name} does not answer and is probed"),
        (slot in state.urgent, "urgent: next in line"),
        (slot in state.waiting and blocked_ms > now_ms, "due, and waits for the budget"),
        (slot in state.waiting, "due, and next in line"),
    )
    return next((words for holds, words in cases if holds), "resting until its next run")


def _next_run_ms(core: "Core", slot: int, state: "AccountState", now_ms: int) -> int | None:
    if slot in core.fleet.stopped or state.stopped:
        return None
    if slot in state.waiting or slot in state.urgent:
        return max(now_ms, state.parked_until_ms)
    return state.route.stretch.comes_at_ms(core.timing.wish_ms(slot, state), now_ms)


def _surfaces(core: "Core", slot: int, state: "AccountState", now_ms: int) -> dict[str, int]:
    """In how many (unstretched) milliseconds each surface is wanted again; those another one answers are left out."""
    stretched_ms = state.route.stretch.now_ms(now_ms)
    due_ms = core.timing.surfaces_due(slot, state)
    names = (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)
    return {name.value: at_ms - stretched_ms for name, at_ms in zip(names, due_ms, strict=True) if at_ms >= 0}
