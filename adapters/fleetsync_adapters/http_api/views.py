"""What clients are shown, as plain JSON values."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fleetsync.engine import Engine
from fleetsync.model import Change, Order, Phase, Position
from fleetsync.report import RobotState, Status, SurfaceState

try:
    VERSION = version("fleetsync")
except PackageNotFoundError:  # run from the sources, without being installed
    VERSION = "0"
_SCAN_MAX = 20_000  # robots that one page looks at: a rare phase must not stop the engine's loop
_NAMES_MAX = 100  # stopped or failing ones are named up to here, and counted beyond


def change_view(change: Change) -> dict[str, Any]:
    """A committed change."""
    return {
        "number": change.number, "account": change.account, "symbol": change.symbol, "robots": list(change.robots),
        "kind": change.kind, "key": change.key, "cause": change.cause, "before": change.before, "after": change.after,
        "evidence": change.evidence, "exchange_at_ms": change.exchange_at_ms, "seen_at_ms": change.seen_at_ms,
    }  # fmt: skip


def robot_view(state: RobotState, now_ms: int) -> dict[str, Any]:
    """What is proven about a robot, surface by surface."""
    surfaces = {"positions": state.positions, "orders": state.orders, "conditional": state.conditional}
    return {
        "robot": state.robot, "account": state.account, "symbol": state.symbol, "phase": state.phase.name.lower(),
        "certainty": state.certainty.value, "stopped": state.stopped, "shared": list(state.shared), "at_ms": now_ms,
        **_age(state.as_of_ms, now_ms),
        "surfaces": {name: _surface(surface, now_ms) for name, surface in surfaces.items()},
    }  # fmt: skip


def _surface(surface: SurfaceState, now_ms: int) -> dict[str, Any]:
    value: tuple[Position | Order, ...] = surface.value
    return {"value": [row._asdict() for row in value], **_age(surface.as_of_ms, now_ms),
            "certainty": surface.certainty.value}


def _age(as_of_ms: int, now_ms: int) -> dict[str, int | None]:
    """When it was true, and how long ago; None where nothing was ever proven."""
    return {"as_of_ms": as_of_ms or None, "age_ms": max(now_ms - as_of_ms, 0) if as_of_ms else None}


def robots_view(engine: Engine, after: int, limit: int, phase: Phase | None) -> dict[str, Any]:
    """A page of robots, by the places they keep as long as they are in the fleet; `next` is where to go on."""
    fleet, now_ms = engine.core.fleet, engine.clock.now_ms()
    rows: list[dict[str, Any]] = []
    slot, end = after, min(after + _SCAN_MAX, len(fleet.ids))
    while slot < end and len(rows) < limit:
        state = fleet.account_of[slot]
        if state is not None and (phase is None or fleet.phase_seen(slot) == phase):
            rows.append({
                "robot": fleet.ids[slot], "account": state.account.id, "symbol": fleet.symbols[slot],
                "phase": fleet.phase_seen(slot).name.lower(), "certainty": fleet.certainty(slot).value,
                **_age(fleet.age_as_of(slot), now_ms), "stopped": fleet.stopped.get(slot, "") or state.stopped,
            })  # fmt: skip
        slot += 1
    return {"robots": rows, "next": slot if slot < len(fleet.ids) else None}


def accounts_view(engine: Engine, after: int, limit: int) -> dict[str, Any]:
    """A page of accounts; never a credential."""
    accounts, now_ms = engine.core.fleet.accounts, engine.clock.now_ms()
    rows = [
        {
            "account": state.account.id, "exchange": state.account.exchange, "egress": state.account.egress,
            "robots": len(state.slots), "worker": state.worker, "stopped": state.stopped,
            "last_fault": state.last_fault, "resting_ms": max(state.parked_until_ms - now_ms, 0),
            **_age(state.positions_as_of_ms, now_ms),
        }
        for state in accounts[after : after + limit] if state is not None
    ]  # fmt: skip
    return {"accounts": rows, "next": after + limit if after + limit < len(accounts) else None}


def status_view(engine: Engine, status: Status, started_at_ms: int) -> dict[str, Any]:
    """The engine's own state; lists of names are cut, their counts are not."""
    rows = asdict(status)
    for name in ("stopped_accounts", "stopped_robots", "failing_accounts"):
        rows[f"{name}_count"] = len(rows[name])
        rows[name] = dict(list(rows[name].items())[:_NAMES_MAX])
    rows["ages_ms"] = {phase: ages.summary() for phase, ages in engine.ages.by_phase.items()}
    rows["event_latency_ms"] = engine.ages.urgent.summary()
    rows["started_at_ms"] = started_at_ms
    rows["version"] = VERSION
    rows["line"] = str(status)
    return rows
