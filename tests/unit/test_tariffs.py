"""Tariffs: whole, sourced, consistent with how we ask, and overridable number by number."""

from importlib import resources
from typing import Any

import pytest

from fleetsync.errors import ConfigError
from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.tariff import Scope
from fleetsync.units import DAY_MS, HOUR_MS
from fleetsync_adapters.ccxt_describe import describe, units
from fleetsync_adapters.ccxt_wires import WIRES
from fleetsync_adapters.tariffs import QUESTIONS, fallback_tariff, load_tariff, override, parse_table

TABLES = ("binanceusdm", "okx", "bybit", "bitget", "gate")
SMALL = """
exchange = "x"
surfaces = ["positions"]
[quotas.weight]
scope = "egress"
limit = 10
window_ms = 1000
source = "its manual"
as_of = "2026-11"
[costs.positions]
endpoint = "GET /positions"
weights = { weight = 5 }
source = "its manual"
as_of = "2026-11"
"""


def test_every_exchange_with_a_table_is_named_here() -> None:
    folder = resources.files("fleetsync_adapters") / "tariff_tables"
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(f"{name}.toml" for name in TABLES)


@pytest.mark.parametrize("exchange_id", TABLES)
def test_a_table_prices_all_that_a_sync_can_ask(exchange_id: str) -> None:
    tariff = load_tariff(exchange_id)
    assert (tariff.exchange, tariff.exact) == (exchange_id, True)
    assert tariff.surfaces == (Surface.POSITIONS, Surface.ORDERS)
    assert set(tariff.costs) <= set(QUESTIONS)
    needed = {"markets", "time", "positions", "orders", "orders:symbol", "conditional", "order", "fills"}
    assert needed <= set(tariff.costs)
    limits = {quota.name: quota.limit for quota in tariff.quotas}
    for cost in tariff.costs.values():
        assert cost.weights, "a request that no quota knows would be free"
        assert all(0 < weight <= limits[name] for name, weight in cost.weights)


@pytest.mark.parametrize("exchange_id", sorted(WIRES))
def test_a_table_knows_the_pages_as_the_adapter_asks_for_them(exchange_id: str) -> None:
    pages = {surface: listing.page for surface, listing in WIRES[exchange_id].lists.items() if listing.page}
    assert load_tariff(exchange_id).page_rows == pages


def test_binance_is_one_pool_of_weight_in_aligned_minutes() -> None:
    tariff = load_tariff("binanceusdm")
    (quota,) = tariff.quotas
    assert (quota.scope, quota.limit, quota.window_ms, quota.aligned) == (Scope.EGRESS, 2400, 60_000, True)
    weights = {key: dict(cost.weights)["weight"] for key, cost in tariff.costs.items()}
    assert weights == {
        "markets": 1, "time": 1, "positions": 5, "orders": 40, "orders:symbol": 1, "conditional": 40,
        "conditional:symbol": 1, "order": 1, "order:conditional": 1, "fills": 5,
    }  # fmt: skip
    assert (tariff.positions_show_orders, tariff.order_retention_ms) == (True, 3 * DAY_MS)
    assert tariff.page_rows == {Surface.FILLS: 1000}
    assert tariff.cost(Call(Surface.ORDER, order_id="1", conditional=True)).endpoint == "GET /fapi/v1/algoOrder"


def test_okx_counts_by_user_and_two_seconds_and_forgets_cancelled_orders_after_two_hours() -> None:
    tariff = load_tariff("okx")
    assert tariff.order_retention_ms == 2 * HOUR_MS
    assert {quota.window_ms for quota in tariff.quotas} == {2_000}
    scopes = {quota.name: quota.scope for quota in tariff.quotas}
    assert (scopes["instruments"], scopes["positions"], scopes["order"]) == (
        Scope.EGRESS, Scope.ACCOUNT, Scope.INSTRUMENT,
    )  # fmt: skip


def test_binance_by_its_other_id_has_the_same_numbers() -> None:
    other, tariff = load_tariff("binance"), load_tariff("binanceusdm")
    assert (other.exchange, other.costs, other.quotas) == ("binance", tariff.costs, tariff.quotas)


def test_the_operators_numbers_replace_ours_one_by_one() -> None:
    tariff = load_tariff("binanceusdm", {
        "quotas": {"weight": {"limit": 1200}},
        "costs": {"orders": {"weights": {"weight": 20}}},
        "surfaces": ["conditional", "orders", "positions"],
        "page_rows": {"fills": 500},
        "positions_show_orders": False,
        "order_retention_ms": 1_000,
    })  # fmt: skip
    (quota,) = tariff.quotas
    assert (quota.limit, quota.window_ms, quota.aligned) == (1200, 60_000, True)
    assert tariff.costs["orders"].weights == (("weight", 20),)
    assert tariff.costs["orders"].endpoint == "GET /fapi/v1/openOrders"
    assert tariff.surfaces == (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)
    assert tariff.page_rows == {Surface.FILLS: 500}
    assert (tariff.positions_show_orders, tariff.order_retention_ms) == (False, 1_000)
    assert load_tariff("binanceusdm").quotas[0].limit == 2400, "the table itself is as it was"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"quotas": {"wieght": {}}}, "exchanges.binanceusdm.quotas: 'wieght' is unknown.*did you mean weight"),
        ({"quotas": {"weight": {"limt": 1}}}, "'limt' is unknown.*did you mean limit"),
        ({"quotas": {"weight": {"limit": 0}}}, "limit must be a whole number above 0, was 0"),
        ({"quotas": {"weight": {"limit": True}}}, "limit must be a whole number above 0, was True"),
        ({"quotas": {"weight": {"limit": "many"}}}, "limit must be a whole number above 0, was 'many'"),
        ({"quotas": {"weight": {"scope": "planet"}}}, "scope must be one of egress, account, endpoint, instrument"),
        ({"quotas": {"weight": {"aligned": 1}}}, "aligned must be true or false"),
        ({"quotas": {"weight": {"limit": 30}}}, "orders weighs 40, and the whole quota weight holds 30"),
        ({"quotas": {"weight": 7}}, "must be tables by name"),
        ({"costs": {"order:": {}}}, "costs: 'order:' is unknown.*did you mean order"),
        ({"costs": {"order": {"weights": {"calls": 1}}}}, "'calls' is unknown"),
        ({"costs": {"order": {"weights": 5}}}, "weights must be a table"),
        ({"surfaces": ["orders", "fills"]}, "surfaces can hold positions, orders, conditional; was 'fills'"),
        ({"surfaces": []}, "surfaces must be a list"),
        ({"page_rows": {"fils": 5}}, "'fils' is unknown.*did you mean fills"),
        ({"order_retention_ms": 1.5}, "order_retention_ms must be int"),
        ({"order_retention_ms": True}, "order_retention_ms must be int"),
        ({"quota": {}}, "'quota' is unknown.*did you mean quotas"),
    ],
)
def test_an_override_that_names_or_gives_something_wrong_is_refused_with_its_place(
    overrides: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_tariff("binanceusdm", overrides)


@pytest.mark.parametrize("line", ['source = "its manual"', 'as_of = "2026-11"'])
def test_a_row_without_its_source_and_month_is_refused(line: str) -> None:
    assert parse_table(SMALL, "x.toml").costs["positions"].endpoint == "GET /positions"
    with pytest.raises(ConfigError, match=r"x\.toml: \[quotas\.weight\].*missing"):
        parse_table(SMALL.replace(line, "", 1), "x.toml")


def test_a_month_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="as_of the month"):
        parse_table(SMALL.replace("2026-11", "lately", 1), "x.toml")


def test_an_exchange_without_a_table_gets_one_from_what_ccxt_knows_and_it_is_marked() -> None:
    tariff = fallback_tariff("kucoinfutures")
    (quota,) = tariff.quotas
    assert (tariff.exact, quota.scope) == (False, Scope.EGRESS)
    assert {"markets", "positions", "orders", "orders:symbol", "order", "fills"} <= set(tariff.costs)
    assert override(tariff, {"quotas": {"ccxt": {"limit": quota.limit * 2}}}).quotas[0].limit == quota.limit * 2


def test_a_price_of_ccxts_becomes_whole_units_rounded_up() -> None:
    assert [units(cost) for cost in (0.0, 0.01, 0.1, 0.25, 1, 40)] == [1, 1, 1, 3, 10, 400]


def test_the_fallback_quota_spaces_requests_as_ccxt_would() -> None:
    found = describe("htx")  # ccxt: one unit of cost each 100 ms
    assert (found.limit, found.window_ms) == (1_000, 10_000)


@pytest.mark.parametrize("name", ["binancusdm", "Okx", "../okx", "", "okx\n"])
def test_an_unknown_exchange_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown exchange"):
        load_tariff(name)
