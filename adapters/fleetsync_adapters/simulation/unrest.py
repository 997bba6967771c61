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
        self.over = False
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

    def account_removed(self, rng: Random) -> str | None:
        """One account less, with its robots; most come back."""
        world, back_ms = self._world, rng.choice((0, 20, 200, 3_000, 60_000, -1))
        account = world.accounts[rng.choice(list(world.accounts))]
        if all(robot.account == account.id for robot in world.robots.values()):
            return None
        robots = world.remove_account(account.id)
        if back_ms > 0:
            world.after(back_ms, self._come_back, (account, robots))
        elif back_ms == 0:
            self._come_back((account, robots))
        return f"{account.id} with {len(robots)} robots, " + ("for good" if back_ms < 0 else f"for {back_ms} ms")

    def _come_back(self, gone: tuple[Account, list[Robot]]) -> None:
        account, robots = gone
        if self.over:
            return
        self._world.add_account(account)
        for robot in robots:
            self._world.add_robot(robot)

    def account_changed(self, rng: Random) -> str:
        """Other keys, or another way."""
        world = self._world
        account = world.accounts[rng.choice(list(world.accounts))]
        known = {one.egress for one in world.setup.accounts if one.exchange == account.exchange}
        ways = sorted(known - {account.egress})
        if ways and rng.random() < 0.7:
            world.change_account(replace(account, egress=rng.choice(ways)))
            return f"{account.id} over {world.accounts[account.id].egress or 'the default egress'}"
        book = world.book_of(account.id)
        world.venue.books.by_key.pop(book.keys.api_key, None)
        book.keys = replace(book.keys, api_key=f"{book.keys.api_key}+", secret=f"{book.keys.secret}+")
        world.venue.books.by_key[book.keys.api_key] = book
        world.change_account(replace(account, api_key=Secret(book.keys.api_key), api_secret=Secret(book.keys.secret)))
        return f"the keys of {account.id}"

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

    def end(self) -> None:
        """Every key is good again, and who is away stays away."""
        self.over = True
        for account in sorted(self._revoked):
            self._resume(account)

    def _resume(self, account: str) -> None:
        if account not in self._revoked:
            return
        self._revoked.discard(account)
        world = self._world
        book = world.book_of(account)
        world.venue.books.by_key[book.keys.api_key] = book
        if account in world.accounts:  # it may have left meanwhile
            world.resume_account(replace(world.accounts[account], api_key=Secret(book.keys.api_key)))
