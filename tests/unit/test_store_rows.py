"""Rows of a store: whole ones are made quickly, and are held to the same rules as all others."""

from typing import Any

import pytest

from fleetsync_adapters import store_rows

ROBOT: dict[str, Any] = {
    "id": "r1", "account": "main", "symbol": "BTC/USDT:USDT", "phase": 1, "priority": 1.0, "enabled": True,
    "order_prefix": "", "holding_ms": None, "working_ms": 5_000, "flat_ms": None, "positions_as_of_ms": 1,
    "orders_as_of_ms": 2, "conditional_as_of_ms": 3, "last_sync_at_ms": 4, "last_event_at_ms": 5, "stopped": "",
    "certainty": "agreed",
}


def test_a_whole_row_in_any_order_becomes_its_columns_in_the_stores_order() -> None:
    shuffled = dict(sorted(ROBOT.items()))
    assert list(shuffled) != list(store_rows.ROBOT)
    row = store_rows.robot_row("r1", shuffled)
    assert row == tuple(ROBOT[name] for name in store_rows.ROBOT)
    assert store_rows.robot_dict(row) == ROBOT


def test_what_a_row_leaves_out_takes_its_default() -> None:
    row = store_rows.robot_row("r1", {"account": "main", "symbol": "BTC/USDT:USDT"})
    assert store_rows.robot_dict(row)["certainty"] == "unknown"
    assert store_rows.robot_dict(row)["priority"] == 1.0


@pytest.mark.parametrize("wrong", [{"phase": "1"}, {"enabled": 1}, {"stopped": None}, {"orders_as_of_ms": 1.5}])
def test_a_wrong_type_is_refused_however_many_right_ones_went_before(wrong: dict[str, Any]) -> None:
    for _ in range(3):
        store_rows.robot_row("r1", ROBOT)
    (column,) = wrong
    for _ in range(2):
        with pytest.raises(AssertionError, match=f"column '{column}' cannot hold"):
            store_rows.robot_row("r1", ROBOT | wrong)


def test_a_whole_row_with_a_strange_column_in_place_of_another_is_refused() -> None:
    strange = {name: value for name, value in ROBOT.items() if name != "stopped"} | {"colour": "red"}
    with pytest.raises(AssertionError, match="unknown columns: colour"):
        store_rows.robot_row("r1", strange)


def test_text_that_no_store_can_keep_is_cleaned_in_whole_rows_too() -> None:
    row = store_rows.robot_row("r1", ROBOT | {"stopped": "odd \ud800 text, and \u00fc"})
    assert store_rows.robot_dict(row)["stopped"] == "odd \\ud800 text, and \u00fc"
    assert store_rows.robot_row("r1", ROBOT)[-2] == ""


def test_a_row_under_another_key_is_refused() -> None:
    with pytest.raises(AssertionError, match="stands under key"):
        store_rows.robot_row("r2", ROBOT)
