"""A fleet made a little different: larger, behind more addresses, on fewer accounts, at other intervals."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleetsync.model import Robot
from fleetsync.units import SECOND_MS
from fleetsync_adapters.budget_bench.fleets import BenchFleet


@dataclass(frozen=True, slots=True)
class Variant:
    """A change that an operator could make, in words, and the fleet with it."""

    words: str
    fleet: BenchFleet
    policy: str


def grown(fleet: BenchFleet, accounts: int) -> BenchFleet:
    """So many accounts with robots like the fleet's, its accounts in turn; fewer than it has keeps the first ones."""
    of: dict[str, list[Robot]] = {account.id: [] for account in fleet.accounts}
    for robot in fleet.robots:
        of[robot.account].append(robot)
    more, robots, rates = [], [], dict(fleet.workload.rate_of)
    for index in range(accounts):
        turn, place = divmod(index, len(fleet.accounts))
        like = fleet.accounts[place]
        account = like if not turn else replace(like, id=f"{like.id}+{turn}")
        more.append(account)
        for robot in of[like.id]:
            copy = robot if not turn else replace(robot, id=f"{robot.id}+{turn}", account=account.id)
            robots.append(copy)
            if robot.id in rates:
                rates[copy.id] = rates[robot.id]
    return replace(fleet, accounts=tuple(more), robots=tuple(robots), workload=replace(fleet.workload, rate_of=rates))


def behind(fleet: BenchFleet, addresses: int) -> BenchFleet:
    """The accounts spread evenly over so many egress addresses."""
    accounts = tuple(replace(account, egress=f"ip-{index % addresses + 1}" if addresses > 1 else account.egress)
                     for index, account in enumerate(fleet.accounts))
    return replace(fleet, accounts=accounts)


def grouped(fleet: BenchFleet) -> BenchFleet:
    """The same robots on half as many accounts of their exchange, no two on one book as far as symbols go round."""
    kept: list[str] = []
    heir: dict[str, str] = {}
    last: dict[str, str] = {}
    for account in fleet.accounts:
        key = f"{account.exchange}@{account.egress}"
        if key in last:
            heir[account.id] = last.pop(key)
        else:
            last[key] = heir[account.id] = account.id
            kept.append(account.id)
    symbols = sorted({robot.symbol for robot in fleet.robots})
    taken: dict[str, set[str]] = {}
    robots = []
    for robot in fleet.robots:
        books = taken.setdefault(heir[robot.account], set())
        free = (name for name in symbols if name not in books)
        symbol = robot.symbol if robot.symbol not in books else next(free, robot.symbol)
        books.add(symbol)
        robots.append(replace(robot, account=heir[robot.account], symbol=symbol))
    return replace(fleet, accounts=tuple(account for account in fleet.accounts if account.id in set(kept)),
                   robots=tuple(robots))


def variants(fleet: BenchFleet, policy: str) -> Iterator[Variant]:
    """What an operator could change to need fewer calls."""
    settings = fleet.settings
    for phase in ("holding", "working", "flat") if policy == "fixed" else ():
        if phase == "working" and not fleet.workload.orders_per_hour:
            continue  # nobody works
        name = f"{phase}_ms"
        longer_ms = getattr(settings, name) * 2
        words = f"{phase} every {longer_ms / SECOND_MS:g} s instead of {longer_ms / 2 / SECOND_MS:g} s"
        yield Variant(words, replace(fleet, settings=settings.but(**{name: longer_ms})), policy)
    if len(fleet.accounts) > 1:
        together = grouped(fleet)
        if len(together.accounts) < len(fleet.accounts):
            yield Variant(f"the robots on {len(together.accounts)} accounts instead of {len(fleet.accounts)}",
                          together, policy)
    if fleet.workload.announced < 1:
        told = replace(fleet, workload=replace(fleet.workload, announced=1.0))
        yield Variant("every deed of a robot announced as an event", told, policy)
    other = "adaptive" if policy == "fixed" else "fixed"
    yield Variant(f"the {other} policy", fleet, other)
