"""The demo: the fleet of the original plan on a paper exchange, with robots that live.

A hundred robots on ten accounts, twenty of them holding a position: the exchange is a process of its own on loopback,
and everything between it and the engine is the real thing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fleetsync.clock import SystemClock
from fleetsync.engine import Engine
from fleetsync.errors import ConfigError
from fleetsync.model import Account, Robot, Secret
from fleetsync.ports import ExchangeSpec
from fleetsync_adapters.demo_driver import Driven, Driver
from fleetsync_adapters.demo_schedule import Deed, Step, schedule
from fleetsync_adapters.paper.markets import Markets
from fleetsync_adapters.paper.process import PaperProcess
from fleetsync_adapters.synthetic import holders, synthetic_fleet
from fleetsync_adapters.tariffs import load_tariff

EXCHANGE = "binanceusdm"
HOLDING_SHARE = 0.2
_MARKETS = 600
_TRADED = 60  # of the markets: those that people know; more where an account has more robots
_OPENING_AT_ONCE = 5
_FOREVER_MS = 24 * 3_600_000  # a demo without an end repeats no deed for a day


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How large the demo is."""

    robots: int = 100
    accounts: int = 10
    seed: int = 1


class Demo:
    """A paper exchange, a fleet on it and the robots' life; use it as an async context manager."""

    def __init__(self, size: DemoSize) -> None:
        """Nothing is started before the context is entered.

        Raises:
            ConfigError: so many robots do not fit on so few accounts.
        """
        self._seed = size.seed
        self.paper = PaperProcess(seed=size.seed, accounts=size.accounts, markets=_MARKETS)
        symbols = [market.symbol for market in Markets(size.seed, _MARKETS).all]
        traded = symbols[:max(_TRADED, -(-size.robots // size.accounts))]
        try:
            drawn, robots = synthetic_fleet(size.robots, HOLDING_SHARE, size.accounts, EXCHANGE, traded, size.seed)
        except ValueError as error:
            raise ConfigError(f"no such demo: {error}", hint="give it more --accounts or fewer --robots") from error
        keys = {account.id: key for account, key in zip(drawn, self.paper.keys(), strict=True)}
        self.accounts = [Account(one.id, one.exchange, Secret(keys[one.id].api_key), Secret(keys[one.id].secret))
                         for one in drawn]
        self.robots: list[Robot] = robots
        self.holding: Sequence[Robot] = holders(robots, HOLDING_SHARE)
        self._books = {account_id: key.id for account_id, key in keys.items()}
        self._driver: Driver | None = None
        self._living: asyncio.Task[None] | None = None

    @property
    def spec(self) -> ExchangeSpec:
        """How to reach its exchange."""
        return ExchangeSpec(EXCHANGE, base_url=self.paper.base_url, tariff=load_tariff(EXCHANGE))

    @property
    def driven(self) -> Driven:
        """What the robots did so far."""
        return self._driver.done if self._driver else Driven()

    async def __aenter__(self) -> Self:
        try:
            await self.paper.start()
            self._driver = Driver(self.paper.base_url, self.paper.admin, {one.id: one for one in self.accounts},
                                  self._books, {robot.id: robot for robot in self.robots})
            await self._driver.open()
            await self._open_first()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.rest()
        if self._driver is not None:
            await self._driver.close()
        await self.paper.stop()

    def live(self, engine: Engine, span_ms: int | None) -> None:
        """Let the robots trade from now on."""
        assert self._driver is not None, "the demo was not entered"
        steps = schedule([robot.id for robot in self.robots], [robot.id for robot in self.holding],
                         span_ms or _FOREVER_MS, self._seed)
        self._living = asyncio.create_task(self._driver.carry_out(steps, engine.clock.now_ms, engine.notify),
                                           name="demo-robots")

    async def rest(self) -> None:
        """Let the robots end what they are doing and do nothing more."""
        living, self._living = self._living, None
        if living is not None:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living

    async def _open_first(self) -> None:
        """The positions that are there before the engine starts."""
        assert self._driver is not None, "opened by __aenter__"
        sides = ("buy", "sell")
        at_once = asyncio.Semaphore(_OPENING_AT_ONCE)
        driver, clock = self._driver, SystemClock()

        async def first(robot: Robot, side: str) -> None:
            async with at_once:
                await driver.do(Step(clock.now_ms(), robot.id, Deed.OPEN, side=side), _nobody)

        await asyncio.gather(*(first(robot, sides[number % 2]) for number, robot in enumerate(self.holding)))


def _nobody(robot: str, kind: str, *, order_id: str = "", client_id: str = "", side: str = "") -> None:
    """There is no engine yet to be told."""
