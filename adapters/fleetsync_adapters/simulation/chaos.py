"""Striking: carries the faults of a plan out on a world, at instants and with figures that follow from the seed.

Each kind has a random stream of its own, and each strike another: leaving one out moves no other.
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.paper.faults import Fault, FaultOrder, FaultRates, Misdeed
from fleetsync_adapters.simulation.faults import LATER, LIE_REST_MS, LIES, MAINTENANCE_MAX_MS
from fleetsync_adapters.simulation.unrest import Unrest

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_STEPS_MAX = 300  # a kill waits for at most so many steps of the engine
_CLOCK_STEPS_MS = (-3_600_000, -30_000, -2_000, -1, 1, 2_000, 30_000, 3_600_000)
_SPOILT_ONE_IN = 3
_JUMPS_MS = (-8_000, -2_000, -900, -300, 300, 900, 2_000, 8_000, 60_000)  # back, the exchange's clock stands still


class Chaos:
    """The faults of one world."""

    def __init__(self, world: "World") -> None:
        """Plan every strike of the plan."""
        self._world = world
        self._plan = world.setup.faults
        self._rng = world.rng("misdeeds")
        self.lied_at_ms: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._unrest = Unrest(world)
        self.ended = False
        self.down_until_ms = self.dark_until_ms = 0  # maintenance; no DNS
        self.foreign_until_ms = 0
        self.clock_moved_at_ms = -MINUTE_MS * 60
        self.spoil_message = ""  # what happens to the next report of a worker
        self.spoilt_until_ms = 0  # until when it happens to one in three
        if Misdeed.REPEATED in self._plan.misdeeds:  # the venue has to remember what was asked when
            world.venue.faults.rates = FaultRates(shares={Misdeed.REPEATED: 0.0})
        for kind, per_minute in self._plan.strikes.items():
            self._plan_next(kind, Random(f"{world.setup.seed} strikes {kind}"), per_minute)

    def end(self) -> None:
        """From now on nothing goes wrong any more; what went wrong is mended."""
        world = self._world
        self.ended = True
        self.down_until_ms = self.dark_until_ms = self.spoilt_until_ms = 0
        self.foreign_until_ms = min(self.foreign_until_ms, world.now_ms)  # what they used is still counted
        self.spoil_message = ""
        if world.life is not None:
            world.life.dies_committing = ""
        world.commit_slow_ms = 0
        world.venue.faults.clear()
        self._unrest.end()

    def _plan_next(self, kind: str, rng: Random, per_minute: float) -> None:
        self._world.after(1 + int(rng.expovariate(per_minute / MINUTE_MS)), self._strike, (kind, rng, per_minute))

    def _strike(self, planned: tuple[str, Random, float]) -> None:
        kind, rng, per_minute = planned
        if self.ended:
            return
        number = self._counts[kind] = self._counts.get(kind, 0) + 1
        self._plan_next(kind, rng, per_minute)
        if f"{kind}:{number}" in self._plan.skip:
            return
        own, life = Random(f"{self._world.setup.seed} {kind} {number}"), self._world.life
        carry_out: Callable[[Random], str | None] | None = getattr(self, f"_{kind}", None)
        if carry_out is None:
            if life is not None and self._world.now_ms < life.paused_until_ms:
                return  # a loop that stands still takes nothing in
            carry_out = getattr(self._unrest, kind)
        assert carry_out is not None
        detail = carry_out(own)
        if detail is None:
            return
        if kind not in LATER:
            self._world.effects[kind] += 1
        for hook in self._world.hooks.struck:
            hook(self._world.now_ms, f"{kind}:{number}", detail)

    def clock_set(self, by_ms: int) -> None:
        """The machine's clock was set; forth, what is dated by ours moves on with us."""
        self.clock_moved_at_ms = self._world.now_ms
        by_ms = max(by_ms, 0)
        self.down_until_ms += by_ms
        self.dark_until_ms += by_ms
        self.foreign_until_ms += by_ms
        self.spoilt_until_ms += by_ms
        self.lied_at_ms = {account: at_ms + by_ms for account, at_ms in self.lied_at_ms.items()}

    # -- single requests

    def before(self, account: str, call: Call) -> None:
        """A request is about to be executed: decide what it meets."""
        world, now_ms = self._world, self._world.now_ms
        if self.ended:
            return
        if now_ms < self.down_until_ms:
            world.effects["maintenance"] += 1
            self._order(Fault(Misdeed.MAINTENANCE))
            return
        whose = world.book_of(account).keys.id if account else ""
        if any(order.account == whose for order in world.venue.faults.orders if order.account):
            self.lied_at_ms[account] = now_ms  # what stood in the way of the one before may let it through now
        for kind, share in self._plan.misdeeds.items():
            if self._rng.random() >= share:
                continue
            if kind in LIES:
                if not account or now_ms < self.lied_at_ms.get(account, -LIE_REST_MS) + LIE_REST_MS:
                    continue
                self.lied_at_ms[account] = now_ms
            span_ms = self._rng.randint(200, 4_000) if self._rng.random() < 0.9 else self._rng.randint(4_000, 30_000)
            self._order(Fault(kind, span_ms, self._rng.randint(0, 3)), account=whose if kind in LIES else "")
            world.effects[kind.value] += 1
            for hook in world.hooks.struck:
                hook(now_ms, kind.value, f"{account} {call.surface} {call.symbol} {span_ms} ms")
            return

    def refuse_clock(self, off_ms: int) -> None:
        """The next request bears a timestamp that the exchange does not take."""
        self._order(Fault(Misdeed.CLOCK_SKEW, off_ms))

    def _order(self, fault: Fault, count: int = 1, account: str = "") -> None:
        faults = self._world.venue.faults
        if not any(one.fault.kind is fault.kind for one in faults.orders):  # they do not pile up while nobody asks
            faults.order([FaultOrder(fault, count=count, account=account)])

    def spoil(self) -> str:
        """What happens to a worker's report that is about to arrive: "" (nothing), lost, doubled or late."""
        how, self.spoil_message = self.spoil_message, ""
        if how:
            self._world.effects[f"message_{how}"] += 1
        elif self._world.now_ms < self.spoilt_until_ms and self._rng.randrange(_SPOILT_ONE_IN) == 0:
            how = self._rng.choice(("lost", "doubled", "late"))
            self._world.effects["messages_spoilt"] += 1
        return how

    # -- the machine: each returns what people should read about it, None where nothing came of it

    def _worker_crash(self, rng: Random) -> str | None:
        life = self._world.life
        worker = rng.randrange(max(self._world.setup.settings.workers, 1))
        return f"worker {worker}" if life is not None and life.crew.kill(worker, "crashed") else None

    def _worker_hang(self, rng: Random) -> str | None:
        life = self._world.life
        worker, span_ms = rng.randrange(max(self._world.setup.settings.workers, 1)), rng.randint(200, 30_000)
        hangs = life is not None and life.crew.hang(worker, span_ms)
        return f"worker {worker} for {span_ms} ms" if hangs else None

    def _slow_start(self, rng: Random) -> str | None:
        if self._world.life is None:
            return None
        self._world.life.crew.slow_start_ms = rng.randint(5_000, 40_000)
        return ""

    def _engine_kill(self, rng: Random) -> str | None:
        if self._world.life is None:
            return None
        self._world.life.fuse = rng.randrange(_STEPS_MAX)
        return ""

    def _engine_kill_committing(self, rng: Random) -> str | None:
        if self._world.life is None:
            return None
        self._world.life.dies_committing = rng.choice(("before", "after"))
        return f"{self._world.life.dies_committing} it is applied"

    def _clock_step(self, rng: Random) -> str | None:
        world = self._world
        if world.life is None or world.clock_step_ms:
            return None
        world.clock_step_ms = rng.choice(_CLOCK_STEPS_MS)
        world.life.fuse = 0
        return f"by {world.clock_step_ms} ms"

    def _engine_pause(self, rng: Random) -> str | None:
        span_ms, life = rng.randint(100, 20_000), self._world.life
        if life is None:
            return None
        life.paused_until_ms = max(life.paused_until_ms, self._world.now_ms + span_ms)
        life.wake_at_ms = max(life.wake_at_ms, life.paused_until_ms)
        return f"for {span_ms} ms"

    def _commit_fail(self, rng: Random) -> str:
        commits = rng.choice((1, 2, 3, 30))
        self._world.store.fail_next(commits)
        return f"{commits} times"

    def _commit_torn(self, _: Random) -> str:
        self._world.store.fail_next(applied=True)
        return ""

    def _commit_slow(self, rng: Random) -> str:
        self._world.commit_slow_ms = rng.randint(100, 5_000)
        self._world.after(rng.randint(1_000, 30_000), self._commits_again, None)
        return f"by {self._world.commit_slow_ms} ms"

    def _commits_again(self, _: object) -> None:
        self._world.commit_slow_ms = 0

    def _message_lost(self, _: Random) -> str:
        self.spoil_message = "lost"
        return ""

    def _message_doubled(self, _: Random) -> str:
        self.spoil_message = "doubled"
        return ""

    def _message_late(self, _: Random) -> str:
        self.spoil_message = "late"
        return ""

    def _messages_spoilt(self, rng: Random) -> str:
        span_ms = rng.randint(1_000, 20_000)
        self.spoilt_until_ms = self._world.now_ms + span_ms
        return f"for {span_ms} ms"

    # -- the exchange and the way to it

    def _maintenance(self, rng: Random) -> str:
        left_ms = max(self._world.end_at_ms - self._world.now_ms, SECOND_MS)
        span_ms = rng.randint(5_000, 40_000) if rng.random() < 0.8 else min(MAINTENANCE_MAX_MS, left_ms)
        self.down_until_ms = self._world.now_ms + span_ms
        return f"for {span_ms} ms"

    def _dns_outage(self, rng: Random) -> str:
        span_ms = rng.randint(1_000, 20_000) if rng.random() < 0.8 else 60_000
        self.dark_until_ms = self._world.now_ms + span_ms
        return f"for {span_ms} ms"

    def _throttle(self, rng: Random) -> str:
        count = rng.randint(1, 5)
        self._order(Fault(Misdeed.THROTTLED, rng.randint(500, 20_000)), count)
        return f"{count} requests"

    def _ban(self, rng: Random) -> str:
        span_ms = rng.randint(5_000, 120_000)
        self._order(Fault(Misdeed.BANNED, span_ms))
        return f"for {span_ms} ms"

    def _clock_jump(self, rng: Random) -> str:
        by_ms = rng.choice(_JUMPS_MS)
        self._world.skew(by_ms)
        self.clock_moved_at_ms = self._world.now_ms
        return f"by {by_ms} ms"

    def _second_consumer(self, rng: Random) -> str:
        world = self._world
        ip = rng.choice(sorted({world.address(one.exchange, one.egress) for one in world.accounts.values()}))
        share, span_ms = rng.uniform(0.1, 0.5), rng.randint(20_000, 120_000)
        self.foreign_until_ms = max(self.foreign_until_ms, world.now_ms + span_ms)
        per_second = max(int(world.setup.limits.weight_per_minute * share / 60), 1)
        self._eat((ip, per_second, world.now_ms + span_ms))
        return f"{per_second} a second for {span_ms} ms"

    def _eat(self, meal: tuple[str, int, int]) -> None:
        ip, per_second, until_ms = meal
        if self._world.now_ms >= until_ms or self.ended:
            return
        limits, at_ms = self._world.venue.limits, self._world.exchange_ms()
        if limits.is_banned(ip, at_ms):  # to ask now would only make it longer, for us too
            return
        if limits.charge(ip, per_second, at_ms).status == 200:  # a decent program stops when it is told to
            self._world.after(SECOND_MS, self._eat, meal)


def is_signed(call: Call) -> bool:
    """Whether a request for this bears a timestamp."""
    return call.surface not in {Surface.MARKETS, Surface.TIME}
