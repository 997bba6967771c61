import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync_adapters.paper.limits import LimitRules, Limits, weight_of

MINUTE_MS = 60_000
START_MS = 1_790_000_040_000 - 1_790_000_040_000 % MINUTE_MS


def test_weights_are_those_of_the_exchange() -> None:
    assert weight_of("GET /fapi/v3/positionRisk", one_symbol=False) == 5
    assert weight_of("GET /fapi/v1/openOrders", one_symbol=False) == 40
    assert weight_of("GET /fapi/v1/openOrders", one_symbol=True) == 1
    assert weight_of("GET /fapi/v1/openAlgoOrders", one_symbol=False) == 40
    assert weight_of("POST /fapi/v1/order", one_symbol=True) == 0
    assert weight_of("GET /fapi/v1/userTrades", one_symbol=True) == 5
    assert weight_of("GET /fapi/v1/order", one_symbol=True) == 1


def test_the_whole_weight_of_a_minute_passes_and_the_next_request_gets_429_until_the_minute_ends() -> None:
    limits = Limits(LimitRules(weight_per_minute=100))
    at_ms = START_MS + 20_000
    assert [limits.charge("a", 20, at_ms).status for _ in range(5)] == [200] * 5
    refused = limits.charge("a", 1, at_ms)
    assert (refused.status, refused.code, refused.retry_after_ms) == (429, -1003, 40_000)


def test_windows_are_aligned_so_twice_the_weight_passes_around_the_edge_of_a_minute() -> None:
    limits = Limits(LimitRules(weight_per_minute=100))
    assert limits.charge("a", 100, START_MS + 59_999).status == 200
    assert limits.charge("a", 100, START_MS + 60_000).status == 200


def test_used_weight_counts_this_minute_and_every_address_has_its_own() -> None:
    limits = Limits()
    limits.charge("a", 40, START_MS)
    assert limits.charge("a", 5, START_MS + 1).used == 45
    assert limits.charge("b", 5, START_MS + 2).used == 5
    assert limits.used("a", START_MS + 3) == 45
    assert limits.used("a", START_MS + MINUTE_MS) == 0


def test_who_goes_on_after_429_is_banned_and_longer_each_time() -> None:
    limits = Limits(LimitRules(weight_per_minute=1, refusals_before_ban=2))
    limits.charge("a", 1, START_MS)
    assert [limits.charge("a", 1, START_MS + 1).status for _ in range(3)] == [429, 429, 418]
    banned = limits.charge("a", 1, START_MS + MINUTE_MS)
    assert (banned.status, banned.retry_after_ms) == (418, MINUTE_MS + 1)
    after_ms = START_MS + 1 + 2 * MINUTE_MS
    assert limits.charge("a", 1, after_ms).status == 200
    assert [limits.charge("a", 1, after_ms).status for _ in range(3)] == [429, 429, 418]
    assert limits.charge("a", 0, after_ms).retry_after_ms == 4 * MINUTE_MS


def test_knocking_during_a_ban_makes_it_longer() -> None:
    limits = Limits(LimitRules(refusals_before_ban=3))
    until_ms = limits.ban("a", START_MS)
    answers = [limits.charge("a", 1, START_MS + 5) for _ in range(4)]
    assert [one.status for one in answers] == [418] * 4
    assert START_MS + 5 + answers[-1].retry_after_ms > until_ms


def test_a_ban_never_lasts_longer_than_the_longest_and_old_bans_are_forgotten() -> None:
    rules = LimitRules(ban_ms=MINUTE_MS, ban_max_ms=5 * MINUTE_MS, ban_forgotten_ms=60 * MINUTE_MS)
    limits = Limits(rules)
    at_ms = START_MS
    spans = []
    for _ in range(5):
        until_ms = limits.ban("a", at_ms)
        spans.append((until_ms - at_ms) // MINUTE_MS)
        at_ms = until_ms
    assert spans == [1, 2, 4, 5, 5]
    assert limits.ban("a", at_ms + 61 * MINUTE_MS) == at_ms + 62 * MINUTE_MS


def test_order_counts_hold_an_account_to_ten_seconds_and_to_a_minute() -> None:
    limits = Limits(LimitRules(orders_per_10s=3, orders_per_minute=5))
    first = [limits.count_order(1, START_MS)[0] for _ in range(4)]
    assert [one.status for one in first] == [200, 200, 200, 429]
    assert (first[-1].code, first[-1].retry_after_ms) == (-1015, 10_000)
    later = [limits.count_order(1, START_MS + 10_000)[0] for _ in range(2)]
    assert [one.status for one in later] == [200, 429]
    assert later[-1].retry_after_ms == 50_000
    assert limits.count_order(2, START_MS + 10_000)[0].status == 200


def test_unlimited_never_refuses_but_still_counts() -> None:
    limits = Limits(LimitRules(weight_per_minute=1, orders_per_10s=1, unlimited=True))
    assert [limits.charge("a", 1000, START_MS).status for _ in range(50)] == [200] * 50
    assert limits.used("a", START_MS) == 50_000
    assert [limits.count_order(1, START_MS)[0].status for _ in range(5)] == [200] * 5


def test_forgiving_ends_a_ban() -> None:
    limits = Limits()
    limits.ban("a", START_MS)
    limits.forgive()
    assert limits.charge("a", 1, START_MS + 1).status == 200


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="weight_per_minute must be above 0"):
        LimitRules(weight_per_minute=0)


@given(
    gaps_ms=st.lists(st.integers(0, 20_000), min_size=1, max_size=120), weight=st.integers(1, 40)
)
def test_no_aligned_minute_ever_admits_more_than_the_limit(gaps_ms: list[int], weight: int) -> None:
    limits = Limits(LimitRules(weight_per_minute=100, refusals_before_ban=10**6))
    admitted: dict[int, int] = {}
    at_ms = START_MS
    for gap_ms in gaps_ms:
        at_ms += gap_ms
        if limits.charge("a", weight, at_ms).status == 200:
            admitted[at_ms // MINUTE_MS] = admitted.get(at_ms // MINUTE_MS, 0) + weight
    assert all(total <= 100 for total in admitted.values())
