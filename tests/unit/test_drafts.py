"""What a sync would ask, where one grant cannot hold all of it."""

from dataclasses import replace

from tests.unit.core_world import TARIFF, World

from fleetsync.drafts import Drafts
from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.planner import Need
from fleetsync.tariff import Cost

SYMBOL = "BTC/USDT:USDT"
LOOKS_UP_BOTH = replace(TARIFF, costs={**TARIFF.costs, "order:conditional": Cost("GET /algo", (("weight", 1),))})


def test_two_questions_about_one_order_are_asked_though_its_lists_are_wanted_anew_each_time() -> None:
    """Two calls for one id. Counted as one, each list that was wanted again came before both of them, for ever."""
    world = World(tariff=LOOKS_UP_BOTH, account_calls_per_second=1)  # one call a grant
    world.account()
    world.robot("btc")
    state = world.core.fleet.account_by_id["main"]
    questions = tuple(Call(Surface.ORDER, SYMBOL, "7", conditional=conditional) for conditional in (False, True))
    need, asked = Need(positions=True, orders=(SYMBOL,), questions=questions), list[Call]()
    for _ in range(4):
        draft = Drafts(world.core).make(state, need, world.now_ms)
        asked += draft.calls
        state.left_over = draft.left_over
    assert {call.surface for call in asked[:2]} == {Surface.POSITIONS, Surface.ORDERS}
    assert asked[2:] == list(questions)
