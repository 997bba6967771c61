"""Fleets made by a seed: for the demo, the measurements and the simulation."""

import random
from collections.abc import Sequence

from fleetsync.model import Account, Robot


def synthetic_fleet(
    robots: int, holding_share: float, accounts: int, exchange: str, markets: Sequence[str], seed: int
) -> tuple[list[Account], list[Robot]]:
    """Accounts without keys, and robots spread evenly over them; the same arguments give the same fleet.

    The first robots of the list are those meant to hold a position (`holders` names them); the accounts share them
    evenly too. No two robots share a book (an account and a symbol) while there are books enough; beyond that, flat
    robots share, told apart by their order prefix.

    Args:
        robots: how many robots.
        holding_share: which share of them is meant to hold a position, 0 to 1.
        accounts: how many accounts.
        exchange: the exchange of all accounts, a ccxt id.
        markets: unified symbols to draw from.
        seed: draws which account trades what.

    Raises:
        ValueError: there are not books enough for the holding robots, or a number is out of bounds.
    """
    if robots < 1 or accounts < 1 or not markets:
        raise ValueError(f"a fleet needs robots, accounts and markets, got {robots}, {accounts} and {len(markets)}")
    if not 0 <= holding_share <= 1:
        raise ValueError(f"holding_share must be between 0 and 1, was {holding_share}")
    if -(-_holding(robots, holding_share) // accounts) > len(markets):
        raise ValueError(f"{accounts} accounts on {len(markets)} markets cannot hold that many positions apart")
    rng = random.Random(seed)
    account_ids = [f"account-{number:0{len(str(accounts))}}" for number in range(1, accounts + 1)]
    drawn = [rng.sample(markets, min(len(markets), -(-robots // accounts))) for _ in account_ids]
    width = len(str(robots))
    fleet = []
    for index in range(robots):
        turn, owner = divmod(index, accounts)
        symbols = drawn[owner]
        robot_id = f"robot-{index + 1:0{width}}"
        fleet.append(
            Robot(robot_id, account_ids[owner], symbols[turn % len(symbols)], order_prefix=f"r{index + 1:0{width}}-")
        )
    return [Account(account_id, exchange) for account_id in account_ids], fleet


def holders(robots: Sequence[Robot], holding_share: float) -> Sequence[Robot]:
    """The robots of a synthetic fleet that are meant to hold a position."""
    return robots[: _holding(len(robots), holding_share)]


def _holding(robots: int, holding_share: float) -> int:
    return round(robots * holding_share)
