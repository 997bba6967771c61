"""Every setting of the engine: unit, default, and why that default.

Relations between settings are checked when a `Settings` is made, so that a running engine never meets a bad pair.
The fleet file (see the adapters) fills this in; embedded users make one directly.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from fleetsync.errors import ConfigError
from fleetsync.units import LONGEST_SPAN_MS, MINUTE_MS, SECOND_MS

CADENCE_MODES = ("fixed", "adaptive")
SPEND_MODES = ("needed", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The engine's settings. All spans are integers of milliseconds."""

    # -- budget
    calls_per_minute: int = 1200
    """Exchange calls of this engine in any 60 s, all workers together. 1200: half of Binance's weight pool."""
    urgent_share: float = 0.35
    """Share of each quota's burst that scheduled work must leave to events and forced syncs."""
    grant_valid_ms: int = 250
    """A granted call must leave the worker within this, or it is not sent: it bounds how late a call can be counted."""
    network_jitter_ms: int = 200
    """How differently two requests may travel; with `grant_valid_ms` it widens every window we keep."""

    # -- cadence
    holding_ms: int = 5 * SECOND_MS
    """Interval of a robot with a position (the original plan's 5 s)."""
    working_ms: int = 5 * SECOND_MS
    """Interval of a robot with resting orders and no position: a fill is as near as for a holding one."""
    flat_ms: int = 30 * SECOND_MS
    """Interval of a robot with neither, and of a surface that showed nothing for a robot (the plan's 30 s)."""
    jitter: float = 0.04
    """Intervals are shortened by up to this share, at random, so that robots do not march in step."""
    mode: str = "fixed"
    """`fixed`: the intervals above. `adaptive`: learnt from what syncs find, between floor and ceilings."""
    spend: str = "needed"
    """`needed`: idle when all wishes are met. `all`: spend a spare budget on shorter intervals, down to `floor_ms`."""
    floor_ms: int = 1 * SECOND_MS
    """No robot is looked at more often than this by schedule, whatever the budget."""
    holding_ceiling_ms: int = 10 * SECOND_MS
    """Adaptive mode lets no holding or working robot grow older than this while the budget can hold all ceilings; where
    every call is spent, a wait in line may come on top now and then."""
    flat_ceiling_ms: int = 2 * MINUTE_MS
    """The same for a flat robot."""

    # -- proof
    confirm_gap_ms: int = 250
    """The second reading that confirms an absence begins at least this long after the first."""
    settle_ms: int = 15 * SECOND_MS
    """How long an announced order or position may take to become visible before it is reported as not seen."""
    visibility_grace_ms: int = 10 * SECOND_MS
    """Exchanges may answer "not found" this long after an order was created (seen: seconds)."""
    doubt_retry_ms: int = 2 * SECOND_MS
    """An open question that could not be answered is asked again after this, doubling up to the flat interval."""

    # -- calls and workers
    workers: int = 2
    """Worker processes; 0 makes the calls inside the caller's own loop (small fleets)."""
    call_timeout_ms: int = 10 * SECOND_MS
    """An exchange call without an answer after this is a NETWORK fault."""
    in_flight_per_worker: int = 256
    """Dispatches a worker may hold at once; more would only queue there, out of the scheduler's sight."""
    worker_silence_ms: int = 12 * SECOND_MS
    """A worker that sends nothing, not even its beat, for this long is replaced."""
    backoff_ms: int = 1 * SECOND_MS
    """First pause of an account after a network fault; doubles, with jitter ..."""
    backoff_max_ms: int = 60 * SECOND_MS
    """... up to this."""
    account_calls_per_second: int = 20
    """A worker paces one account's granted calls to this, so that a batch does not land as one burst."""

    # -- store
    heartbeat_ms: int = 30 * SECOND_MS
    """Ages of unchanged robots reach the store at least this often."""
    sync_records_per_second: int = 20
    """Syncs recorded with their outcome, for replay and tuning; the rest of a busy second is counted, not recorded."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_ms") and isinstance(value, int) and value > LONGEST_SPAN_MS:
                raise ConfigError(f"{field.name} must be at most ten years, was {value} ms")
            if field.type is not str and (isinstance(value, bool) or not isinstance(value, int | field.type)):
                words = "a whole number" if field.type is int else "a number"
                raise ConfigError(f"{field.name} must be {words}, was {value!r}")
            if field.type is float:
                object.__setattr__(self, field.name, float(value))
            elif field.type is int and value < (0 if field.name in _MAY_BE_ZERO else 1):
                least = "0 or above" if field.name in _MAY_BE_ZERO else "above 0"
                raise ConfigError(f"{field.name} must be {least}, was {value}")
        self._check_words_and_shares()

    def _check_words_and_shares(self) -> None:
        if not 0 <= self.urgent_share <= 0.9:
            raise ConfigError(f"urgent_share must be between 0 and 0.9, was {self.urgent_share}")
        if not 0 <= self.jitter <= 0.5:
            raise ConfigError(f"jitter must be between 0 and 0.5, was {self.jitter}")
        if self.mode not in CADENCE_MODES:
            raise ConfigError(f"mode must be one of {', '.join(CADENCE_MODES)}, was {self.mode!r}")
        if self.spend not in SPEND_MODES:
            raise ConfigError(f"spend must be one of {', '.join(SPEND_MODES)}, was {self.spend!r}")
        if self.floor_ms > min(self.holding_ms, self.working_ms, self.flat_ms):
            raise ConfigError(f"floor_ms ({self.floor_ms}) must not be above an interval")

    def but(self, **changes: Any) -> "Settings":
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)


_MAY_BE_ZERO = {"workers", "sync_records_per_second", "network_jitter_ms", "confirm_gap_ms"}
