"""Lists that several requests make, and lists that could not be handed over."""

from dataclasses import replace

import pytest
from tests.unit.builders import order, position
from tests.unit.core_world import TARIFF, World

from fleetsync.messages import Answer, Call
from fleetsync.model import Fault, Surface
from fleetsync.tariff import Cost
from fleetsync_adapters.ccxt_wires import WIRES
from fleetsync_adapters.tariffs import load_tariff

IN_PARTS = replace(
    TARIFF, surfaces=(Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL), page_rows={Surface.CONDITIONAL: 10},
    parts={Surface.CONDITIONAL: 3}, costs={**TARIFF.costs, "conditional": Cost("GET /conditional", (("weight", 1),))})


@pytest.mark.parametrize("rows", [0, 1, 25])
def test_a_list_that_three_requests_make_is_asked_for_with_three_from_the_first_time_on(rows: int) -> None:
    """Each reading that its pages did not reach was thrown away, and the number learnt was forgotten with the next."""
    world = World(tariff=IN_PARTS)
    world.account()
    world.robot("r")
    wanted, asked = max(3, rows // 10 + 3), list[tuple[int, bool]]()
    resting = tuple(order(str(number), conditional=True) for number in range(rows))

    def answer(_: str, call: Call, at_ms: int) -> Answer | None:
        if call.surface is not Surface.CONDITIONAL:
            return None
        asked.append((call.pages, call.pages >= wanted))
        return Answer(call, at_ms, complete=call.pages >= wanted, rows=resting[:call.pages * 10])

    world.answer = answer
    world.run(120_000)
    assert asked[0][0] == 3
    assert all(complete for _, complete in asked[1:]), asked
    assert {pages for pages, _ in asked[3:]} == {wanted}


@pytest.mark.parametrize("exchange", sorted(WIRES))
def test_the_tables_know_of_how_many_requests_the_lists_are_made(exchange: str) -> None:
    made = {surface: len(listing.variants) for surface, listing in WIRES[exchange].lists.items()
            if len(listing.variants) > 1}
    assert load_tariff(exchange).parts == made


def test_after_a_list_that_could_not_be_handed_over_the_next_one_brings_its_rows() -> None:
    """Too large for a frame, it comes as a fault; the worker has read it, and would call the next one as before."""
    world = World()
    truth = world.account()
    truth.orders.append(order())
    truth.positions.append(position())
    world.robot("r")
    world.run(10_000)
    broken = True

    def answer(_: str, call: Call, at_ms: int) -> Answer | None:
        if call.surface is Surface.ORDERS and broken:
            return Answer(call, at_ms, fault=Fault.MALFORMED, detail="too large")
        return None

    world.answer = answer
    world.run(10_000)
    broken, sent = False, len(world.sent)
    world.run(120_000)
    fulls = [one.dispatch.full for one in world.sent[sent:]
             if any(call.surface is Surface.ORDERS for call in one.dispatch.calls)]
    assert fulls[0]
    assert not fulls[-1]
