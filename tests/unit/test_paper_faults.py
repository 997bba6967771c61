import pytest

from fleetsync_adapters.paper.faults import Fault, FaultOrder, FaultRates, Faults, Misdeed, drawn, fault_order_from

POSITIONS = "GET /fapi/v3/positionRisk"
ORDERS = "GET /fapi/v1/openOrders"


def test_without_orders_and_rates_nothing_goes_wrong() -> None:
    faults = Faults()
    assert [faults.decide(POSITIONS, "a") for _ in range(100)] == [()] * 100


def test_an_order_meets_the_next_matching_requests_and_no_others() -> None:
    faults = Faults()
    faults.order([FaultOrder(Fault(Misdeed.HTML), endpoint="openOrders", account="a", count=2)])
    asked = [(POSITIONS, "a"), (ORDERS, "b"), (ORDERS, "a"), (ORDERS, "a"), (ORDERS, "a")]
    assert [bool(faults.decide(*one)) for one in asked] == [False, False, True, True, False]
    assert faults.met == {Misdeed.HTML: 2}
    assert faults.orders == []


def test_the_same_seed_gives_the_same_misdeeds_and_another_seed_others() -> None:
    shares = {Misdeed.RESET: 0.2, Misdeed.LATE_ANSWER: 0.3}
    one, same, other = (
        [drawn(FaultRates(seed=seed, shares=shares), number) for number in range(300)] for seed in (4, 4, 5)
    )
    assert one == same != other


def test_a_share_is_met_about_as_often_as_it_says_and_does_not_move_the_others() -> None:
    alone = FaultRates(seed=9, shares={Misdeed.BUSY: 0.1})
    both = FaultRates(seed=9, shares={Misdeed.RESET: 0.5, Misdeed.BUSY: 0.1})
    hits = [number for number in range(5000) if drawn(alone, number)]
    assert 400 < len(hits) < 600
    assert hits == [n for n in range(5000) if any(one.kind is Misdeed.BUSY for one in drawn(both, n))]


def test_spans_stay_between_the_two_that_were_given_and_skews_are_beyond_any_window() -> None:
    rates = FaultRates(seed=1, shares={Misdeed.LATENCY: 1.0, Misdeed.CLOCK_SKEW: 1.0}, delay_ms=(50, 90))
    met = [drawn(rates, number) for number in range(200)]
    assert all(50 <= one[0].delay_ms <= 90 for one in met)
    skews = [one[1].delay_ms for one in met]
    assert all(abs(skew) > 60_000 for skew in skews)
    assert min(skews) < 0 < max(skews)


def test_latency_is_seeded_and_within_its_span() -> None:
    faults = Faults(FaultRates(seed=3, latency_ms=(20, 60)))
    spans = []
    for _ in range(200):
        faults.decide(POSITIONS, "a")
        spans.append(faults.latency_ms())
    assert 20 <= min(spans) < max(spans) <= 60


def test_clearing_ends_everything() -> None:
    faults = Faults(FaultRates(shares={Misdeed.RESET: 1.0}))
    faults.order([FaultOrder(Fault(Misdeed.HTML))])
    faults.clear()
    assert faults.decide(POSITIONS, "a") == ()


@pytest.mark.parametrize("kind", list(Misdeed))
def test_every_misdeed_can_be_ordered_by_name(kind: Misdeed) -> None:
    made = fault_order_from({"kind": kind.value, "delay_ms": 7, "count": 3, "endpoint": "order"})
    assert made == FaultOrder(Fault(kind, 7), "order", "", 3)


@pytest.mark.parametrize(
    "given", [{}, {"kind": "explode"}, {"kind": "html", "why": "x"}, {"kind": "html", "count": "2"},
              {"kind": "html", "delay_ms": True}],
)  # fmt: skip
def test_a_malformed_fault_order_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fault order"):
        fault_order_from(given)


def test_shares_outside_zero_to_one_and_spans_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="share of reset"):
        FaultRates(shares={Misdeed.RESET: 1.5})
    with pytest.raises(ValueError, match="latency_ms"):
        FaultRates(latency_ms=(9, 3))
