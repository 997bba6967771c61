"""The planner's choice is the cheapest there is, and a grant holds no more than its ledgers were made for."""

from itertools import chain, combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.planner import Need, Prices, answers, cut, plan
from fleetsync.tariff import Cost, Quota, Scope, Tariff

SYMBOLS = ("A", "B", "C", "D")


def _tariff(**weights: int) -> Tariff:
    costs = {name.replace("_", ":"): Cost(f"GET /{name}", (("weight", weight),)) for name, weight in weights.items()}
    return Tariff("x", (Quota("weight", Scope.EGRESS, 2_400, 60_000),), costs)


def _price(calls: tuple[Call, ...], prices: Prices) -> int:
    total = 0
    for call in calls:
        price = prices.of(call.surface, one_symbol=bool(call.symbol))
        assert price is not None
        total += price * call.pages
    return total


def _cheapest(need: Need, prices: Prices) -> int:
    """Over all sets of calls that answer everything, tried one by one."""
    pages = dict(need.pages)
    offered = [Call(surface, symbol, pages=pages.get(surface, 1))
               for surface, symbol in product((Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL), ("", *SYMBOLS))
               if prices.of(surface, one_symbol=bool(symbol)) is not None]
    wanted = [*(Call(Surface.ORDERS, symbol) for symbol in need.orders),
              *(Call(Surface.CONDITIONAL, symbol) for symbol in need.conditional), *need.questions]
    if need.positions:
        wanted.append(Call(Surface.POSITIONS))
    sets = chain.from_iterable(combinations(offered, size) for size in range(len(offered) + 1))
    return min(_price(calls, prices) for calls in sets if all(answers(calls, question) for question in wanted))


_SOME = st.lists(st.sampled_from(SYMBOLS[:3]), unique=True).map(lambda found: tuple(sorted(found)))


@given(st.booleans(), _SOME, _SOME, _SOME, st.integers(1, 8), st.integers(1, 8), st.integers(1, 3))
def test_no_other_set_of_calls_answers_the_need_for_less(
        positions: bool, orders: tuple[str, ...], conditional: tuple[str, ...], asked: tuple[str, ...],  # drawn
        one: int, every: int, pages: int) -> None:
    prices = Prices(_tariff(positions=5, orders=every, orders_symbol=one, conditional=2 * every,
                            conditional_symbol=one), 1_200)
    need = Need(positions, orders, conditional, tuple(Call(Surface.ORDERS, symbol) for symbol in asked),
                ((Surface.ORDERS, pages),))
    calls = plan(need, prices)
    assert _price(calls, prices) == _cheapest(need, prices)
    assert len(set(calls)) == len(calls)


@pytest.mark.parametrize(("due", "calls"), [(1, 1), (13, 13), (15, 1)])
def test_binance_lists_are_asked_by_symbol_up_to_where_all_symbols_cost_less(due: int, calls: int) -> None:
    """1 a symbol against 40 for all; each call counts against the operator's cap too, so the break-even is earlier."""
    prices = Prices(_tariff(orders=40, orders_symbol=1), 1_200)
    assert len(plan(Need(orders=tuple(f"S{number:02}" for number in range(due))), prices)) == calls


def test_positions_come_first_then_lists_then_questions() -> None:
    prices = Prices(_tariff(positions=5, orders_symbol=1, order=1), 1_200)
    question = Call(Surface.ORDER, "A", order_id="7")
    surfaces = [call.surface for call in plan(Need(positions=True, orders=("A",), questions=(question,)), prices)]
    assert surfaces == [Surface.POSITIONS, Surface.ORDERS, Surface.ORDER]


def test_a_question_for_a_list_that_is_read_anyway_is_not_asked_apart() -> None:
    prices = Prices(_tariff(positions=5, orders=1), 1_200)
    need = Need(positions=True, orders=("A",), questions=(Call(Surface.POSITIONS), Call(Surface.ORDERS, "B")))
    assert plan(need, prices) == (Call(Surface.POSITIONS), Call(Surface.ORDERS))


def test_a_question_for_a_long_list_gets_as_many_pages_as_the_list_needs() -> None:
    prices = Prices(_tariff(positions=5), 1_200)
    need = Need(questions=(Call(Surface.POSITIONS),), pages=((Surface.POSITIONS, 4),))
    assert plan(need, prices) == (Call(Surface.POSITIONS, pages=4),)


def test_a_long_list_of_one_symbol_is_read_to_its_end_too() -> None:
    need = Need(orders=("A",), pages=((Surface.ORDERS, 2),))
    assert plan(need, Prices(_tariff(orders=40, orders_symbol=1), 1_200)) == (Call(Surface.ORDERS, "A", pages=2),)


def test_fills_and_orders_are_answered_by_nothing_but_themselves() -> None:
    asked = Call(Surface.FILLS, "A", since_ms=5)
    assert not answers([Call(Surface.FILLS, "A", since_ms=6), Call(Surface.ORDERS)], asked)
    assert answers([asked], asked)


def test_a_surface_that_the_exchange_does_not_have_is_not_asked_for() -> None:
    assert plan(Need(conditional=("A",)), Prices(_tariff(positions=5), 1_200)) == ()


def test_a_limit_of_one_account_alone_is_no_price() -> None:
    costs = {"orders": Cost("GET /o", (("own", 50),)), "orders:symbol": Cost("GET /o", ())}
    tariff = Tariff("x", (Quota("own", Scope.ACCOUNT, 60, 60_000),), costs)
    assert plan(Need(orders=("A", "B")), Prices(tariff, 1_200)) == (Call(Surface.ORDERS),)


@given(st.lists(st.tuples(st.sampled_from(["positions", "orders", "orders:symbol"]), st.integers(1, 3)), min_size=1,
                max_size=12), st.integers(1, 8))
def test_a_grant_holds_as_many_calls_as_fit_and_at_least_one(drawn: list[tuple[str, int]], calls_max: int) -> None:
    tariff = _tariff(positions=5, orders=40, orders_symbol=1)
    calls = [Call(Surface.POSITIONS if name == "positions" else Surface.ORDERS, "A" if ":" in name else "", pages=pages)
             for name, pages in drawn]

    def fits(count: int) -> bool:
        weight = sum(tariff.cost(call).weights[0][1] * call.pages for call in calls[:count])
        return sum(call.pages for call in calls[:count]) <= calls_max and weight <= 40

    taken = cut(calls, tariff, calls_max, {"weight": 40})
    assert taken == max([1, *(count for count in range(1, len(calls) + 1) if fits(count))])
