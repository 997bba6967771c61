"""Fleets made by a seed."""

from collections import Counter

import pytest

from fleetsync_adapters.synthetic import holders, synthetic_fleet

MARKETS = [f"M{number}/USDT:USDT" for number in range(50)]


def test_the_same_arguments_give_the_same_fleet() -> None:
    first, again, other = (synthetic_fleet(100, 0.2, 10, "okx", MARKETS, seed) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_robots_and_holders_are_spread_evenly_over_the_accounts() -> None:
    accounts, robots = synthetic_fleet(100, 0.2, 10, "okx", MARKETS, 1)
    ids = [account.id for account in accounts]
    assert Counter(robot.account for robot in robots) == Counter(dict.fromkeys(ids, 10))
    assert Counter(robot.account for robot in holders(robots, 0.2)) == Counter(dict.fromkeys(ids, 2))


def test_no_two_robots_share_a_book_while_there_are_books_enough() -> None:
    _, robots = synthetic_fleet(500, 0.5, 10, "okx", MARKETS, 1)
    assert len({(robot.account, robot.symbol) for robot in robots}) == 500


def test_beyond_that_holders_still_keep_apart_and_prefixes_tell_the_others() -> None:
    _, robots = synthetic_fleet(1_000, 0.5, 10, "okx", MARKETS, 1)
    assert len({(robot.account, robot.symbol) for robot in holders(robots, 0.5)}) == 500
    assert len({robot.id for robot in robots}) == len({robot.order_prefix for robot in robots}) == 1_000
    assert all(len(robot.order_prefix) <= 32 for robot in robots)


@pytest.mark.parametrize(
    ("robots", "share", "accounts", "markets"),
    [(0, 0.2, 1, MARKETS), (1, 0.2, 0, MARKETS), (1, 0.2, 1, []), (10, 1.1, 1, MARKETS), (51, 1.0, 1, MARKETS)],
)
def test_what_cannot_be_made_is_refused(robots: int, share: float, accounts: int, markets: list[str]) -> None:
    with pytest.raises(ValueError, match=r"fleet needs|between|apart"):
        synthetic_fleet(robots, share, accounts, "okx", markets, 1)
