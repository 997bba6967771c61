"""Changes that people make while everything runs: events, forced syncs, robots, accounts, keys, the budget."""

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from fleetsync.model import Account, Robot, Secret
from fleetsync.units import MINUTE_MS

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

_KINDS = ("opened", "closed", "manual", "order_placed", "order_cancelled", "suspect")


class Unrest:
    """The operator's and the robots' part in the chaos; each method returns what people should read about it."""

    def __init__(self, world: "World") -> None:
        """Stir this world."""
        self._world = world
        self._token = 0
        self._revoked: set[str] = set()

    def event_storm(self, rng: Random) -> str:
        """Many events at once, most of them about nothing."""
        world = self._world
        robots, count = list(world.robots), rng.choice((20, 100, 500))
        for _ in range(count):
            robot = rng.choice(robots)
            side = rng.choice(("", "", "long", "short"))
            named = "" if side or rng.random() < 0.7 else str(rng.randint(1, 99))
            world.tell(robot, rng.choice(_KINDS), side=side, order_id=named)
        return f"{count} events"

    def forced_syncs(self, rng: Random) -> str | None:
        """Many forced syncs at once."""
        world, count = self._world, rng.randint(1, 20)
        if world.life is None:
            return None
        for _ in range(count):
            robot = rng.choice(list(world.robots))
            self._token += 1
            if robot in world.life.core.fleet.slot_of:
                world.life.ask(self._token, robot, rng.choice((500, 2_000, 10_000)))
        return f"{count} robots"

    def budget_change(self, rng: Random) -> str:
        """Another number of calls a minute."""
        limit = rng.choice((30, 60, 120, 300, 600, 1_200, 2_400))
        self._world.set_calls_per_minute(limit)
        return f"to {limit}"

    def robot_added(self, rng: Random) -> str:
        """One more robot on an account that is there."""
        world = self._world
        account = rng.choice(list(world.accounts))
        symbol = rng.choice(world.venue.markets.all).symbol
        number = world.next_pid()
        robot = Robot(f"new-{number}", account, symbol, order_prefix=f"n{number}-")
        world.add_robot(robot)
        return f"{robot.id} on {account} {symbol}"

    def robot_removed(self, rng: Random) -> str | None:
        """One robot less, as long as two are left."""
        world = self._world
        if len(world.robots) < 2:
            return None
        robot = rng.choice(list(world.robots))
        world.remove_robot(robot)
        return robot

    def robot_moved(self, rng: Random) -> str:
        """The same robot elsewhere: removed and added again."""
        world = self._world
        robot = world.robots[rng.choice(list(world.robots))]
        account = rng.choice(list(world.accounts))
        symbol = rng.choice((robot.symbol, rng.choice(world.venue.markets.all).symbol))
        world.remove_robot(robot.id)
        world.add_robot(replace(robot, account=account, symbol=symbol))
        return f"{robot.id} to {account} {symbol}"

    def account_added(self, rng: Random) -> str:
        """One more account, with a robot on it."""
        world, number = self._world, self._world.next_pid()
        like = rng.choice(list(world.accounts.values()))
        account = Account(f"joined-{number}", like.exchange, egress=like.egress)
        world.add_account(account)
        world.add_robot(Robot(f"new-{number}", account.id, rng.choice(world.venue.markets.all).symbol))
        return account.id

    def key_revoked(self, rng: Random) -> str | None:
        """The exchange does not take an account's key any more; somebody mends it a minute later."""
        world = self._world
        account = rng.choice(list(world.accounts))
        if account in self._revoked:
            return None
        self._revoked.add(account)
        book = world.book_of(account)
        del world.venue.books.by_key[book.keys.api_key]
        world.forget_seats(account)
        world.after(MINUTE_MS, self._resume, account)
        return account

    def resume_all(self) -> None:
        """Every key is good again."""
        for account in sorted(self._revoked):
            self._resume(account)

    def _resume(self, account: str) -> None:
        if account not in self._revoked:
            return
        self._revoked.discard(account)
        world = self._world
        book = world.book_of(account)
        world.venue.books.by_key[book.keys.api_key] = book
        mended = replace(world.accounts[account], api_key=Secret(book.keys.api_key))
        world.resume_account(mended)
