"""What can go wrong, as data: the kinds of fault, what each means, and a plan of how often they strike.

Two families. A *strike* happens to the machine at an instant (a worker dies, the exchange closes for maintenance). A
*misdeed* happens to single requests, at a share of them; `paper.faults.Misdeed` says what each means. How strikes are
carried out is in `chaos`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleetsync_adapters.paper.faults import Misdeed

STRIKES = {
    "worker_crash": "a worker process dies",
    "worker_hang": "a worker stands still for up to 30 s; silent for too long, it is replaced",
    "slow_start": "the next worker to start takes up to 40 s longer",
    "engine_kill": "the engine is killed between any two of its steps, and starts again on what was committed",
    "engine_pause": "the engine's loop stands still for up to 20 s",
    "engine_kill_committing": "the engine is killed at its next commit, just before or just after it is applied",
    "clock_step": "the engine is killed, and the machine's clock is set back or forth before the next one starts",
    "commit_fail": "the next commits fail before they are applied, for half a minute at worst",
    "commit_torn": "the next commit is applied and still reported as failed",
    "commit_slow": "for up to 30 s each commit takes up to 5 s",
    "message_lost": "a worker's report never arrives",
    "message_doubled": "a worker's report arrives twice",
    "message_late": "a worker's report arrives up to 40 s late, after later ones",
    "messages_spoilt": "for up to 20 s one report in three is lost, doubled or late",
    "maintenance": "the exchange answers 503 for up to 30 minutes",
    "dns_outage": "for up to a minute no request finds its way",
    "throttle": "the next requests are answered 429 although the weight would do",
    "ban": "the address is locked out with 418 for up to two minutes",
    "clock_jump": "the clocks of machine and exchange move against each other: 8 s back to a minute ahead",
    "event_storm": "hundreds of events at once",
    "forced_syncs": "many forced syncs at once",
    "second_consumer": "another program on the same address uses up to half of its weight for a while",
    "budget_change": "the operator changes the calls a minute",
    "robot_added": "a robot joins the fleet",
    "robot_removed": "a robot leaves the fleet",
    "robot_moved": "a robot goes to another account or symbol",
    "account_added": "an account joins the fleet, with a robot",
    "account_removed": "an account leaves the fleet with its robots, and comes back a moment later, a minute, or never",
    "account_changed": "an account is reached by other keys or over another egress, its calls in flight or not",
    "key_revoked": "the exchange refuses an account's key, until it is resumed a minute later",
}  # fmt: skip

MISDEEDS = tuple(kind for kind in Misdeed if kind not in {Misdeed.MAINTENANCE, Misdeed.BANNED, Misdeed.CLOCK_SKEW})
LIES = frozenset({Misdeed.EMPTY_LIST, Misdeed.OLDER_STATE, Misdeed.REPEATED, Misdeed.NOT_FOUND, Misdeed.FORGOTTEN})
"""A good answer that is not true. No client can tell two such answers in a row from the truth, so an account is lied
to at most once in `LIE_REST_MS`."""
LIE_REST_MS = 120_000
MAINTENANCE_MAX_MS = 30 * 60_000
LATER = frozenset({"slow_start", "engine_kill", "engine_kill_committing", "clock_step", "commit_fail", "commit_torn",
                   "message_lost", "message_doubled", "message_late", "messages_spoilt", "maintenance", "dns_outage",
                   "throttle", "ban"})  # fmt: skip
"""Strikes that only prepare something: they count where it takes effect, and may not come to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """Which faults are enabled, and how often they strike."""

    strikes: Mapping[str, float] = field(default_factory=dict)
    """Strikes a minute, by kind."""
    misdeeds: Mapping[Misdeed, float] = field(default_factory=dict)
    """Share of requests, by kind."""
    skip: frozenset[str] = frozenset()
    """Single strikes that are left out, as "kind:number" (for shrinking)."""

    def __post_init__(self) -> None:
        unknown = self.strikes.keys() - STRIKES.keys()
        if unknown:
            raise ValueError(f"unknown strikes: {', '.join(sorted(unknown))}")

    def __bool__(self) -> bool:
        return bool(self.strikes or self.misdeeds)
