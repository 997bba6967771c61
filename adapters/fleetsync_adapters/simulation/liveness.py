"""The second phase: the faults have stopped, and within a stated time the engine knows the exchange's books exactly.

The bound is made of what the engine's own settings say: how long an account rests after faults, how often it is probed,
how long a ban that is still on lasts, and how long a round of the whole fleet takes under the budget, beside the events
that still wait.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from fleetsync.model import Certainty, Order, Position, Robot, Surface
from fleetsync.units import MINUTE_MS, SECOND_MS
from fleetsync_adapters.paper.holdings import unified_order, unified_position, unified_trigger
from fleetsync_adapters.paper.views import open_orders, open_triggers, positions
from fleetsync_adapters.simulation.promises import Promise

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.life import Life
    from fleetsync_adapters.simulation.world import World

_PROOF_MS = 2 * MINUTE_MS  # a doubt is asked about, at growing distances of up to 30 s, until it is settled
_ROUNDS_MIN = 4
_LINES_MAX = 20  # of what differs; nobody reads more, and a large fleet is looked through only once it may be done
_CALLS_AN_EVENT = 4  # what was announced and does not show is asked for again, at growing distances
_START_MS = MINUTE_MS  # an engine and its workers come up again, the slowest of them


class Convergence(Promise):
    """What is known equals what is true, once the faults have stopped and the trading too."""

    name: ClassVar[str] = "convergence"
    sentence: ClassVar[str] = ("After the faults stop, what is known, what is stored and the exchange's books are equal"
                              " within the stated time.")


def bound_ms(world: "World") -> int:
    """How long it may take from now on."""
    settings, life = world.settings, world.life
    stored = world.store.load()
    until_ms = [world.now_ms, *stored.freezes.values()]
    if life is not None:
        until_ms += (ledger.frozen_until_ms for ledger in life.core.budget.ledgers())
    # A clock that is yet to be set back puts the end of a ban off: what is stored is an instant by that clock. One that
    # is yet to be set forward takes its step out of the bound.
    frozen_ms = max(until_ms) - world.now_ms + abs(world.clock_step_ms)
    surfaces = next(iter(world.setup.tariffs.values())).surfaces
    weight_a_round = sum(sum(weight for name, weight in tariff.costs[surface.value].weights if name == "weight")
                         for tariff in world.setup.tariffs.values() for surface in surfaces)
    calls_a_round = len(surfaces) * len(world.robots)
    scarce = max(calls_a_round / settings.calls_per_minute,
                 weight_a_round * len(world.accounts) / world.setup.limits.weight_per_minute)
    rounds_ms = _rounds(world) * max(int(scarce * MINUTE_MS), settings.flat_ceiling_ms, settings.flat_ms)
    events_ms = _CALLS_AN_EVENT * len(stored.events) * MINUTE_MS // settings.calls_per_minute
    return frozen_ms + settings.backoff_max_ms + rounds_ms + events_ms + _PROOF_MS + _START_MS


def _rounds(world: "World") -> int:
    """How often a budget that is short by far serves the whole fleet until everybody was read once.

    While the robot that may wait longest, or a list that shows nothing of it, is read once, the others are read as
    often as their shorter intervals and greater priorities say.
    """
    settings, robots = world.settings, world.robots.values()
    longest_ms = max(((robot.flat_ms or settings.flat_ms) / robot.priority for robot in robots), default=0)
    often = sum(robot.priority / min(robot.holding_ms or settings.holding_ms, robot.working_ms or settings.working_ms)
                for robot in robots)
    return max(_ROUNDS_MIN, 1 + int(longest_ms * often / max(len(robots), 1)))


def differences(world: "World", first: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """In what knowledge and truth differ, up to some lines, and of which robots.

    While a robot in `first` differs, no other is looked at; nothing is found only when all were.
    """
    life = world.life
    if life is None:
        return ["the engine is not running"], list(first)
    lines: list[str] = []
    robots: list[str] = []
    for place, robot_id in enumerate(chain(first, world.robots)):
        if place >= len(first) and robots and first:
            break
        robot = world.robots.get(robot_id)
        found = _robot_differences(world, life, robot) if robot is not None and robot.enabled else []
        if found:
            lines += found
            robots.append(robot_id)
        if len(lines) >= _LINES_MAX:
            break
    return lines, robots


def _robot_differences(world: "World", life: "Life", robot: Robot) -> list[str]:
    fleet = life.core.fleet
    slot = fleet.slot_of.get(robot.id)
    if slot is None:
        return [f"{robot.id} is not in the fleet"]
    state = fleet.state_of(slot)
    if slot in fleet.stopped or state.stopped:
        return [f"{robot.id} is stopped: {fleet.stopped.get(slot) or state.stopped}"]
    certainty = fleet.certainty(slot)
    unsure = [] if certainty is Certainty.AGREED else [f"{robot.id} is {certainty.value}"]
    return unsure + [f"{robot.id}: {line}"
                     for line in _book_differences(world, robot.account, robot.symbol, world.exchange_ms())]


def _book_differences(world: "World", account: str, symbol: str, at_ms: int) -> list[str]:
    assert world.life is not None
    state = world.life.core.fleet.account_by_id[account]
    book = state.books.get(symbol)
    held, resting = true_rows(world, account, symbol, at_ms)
    known_held = {row.side: row for row in book.positions} if book is not None else {}
    known_resting = {row.id: row for row in book.orders} if book is not None else {}
    found = [f"position {side}: known {_row(known_held.get(side))}, in truth {_row(held.get(side))}"
             for side in sorted(held.keys() | known_held.keys()) if held.get(side) != known_held.get(side)]
    found += [f"order {key}: known {_row(known_resting.get(key))}, in truth {_row(resting.get(key))}"
              for key in sorted(resting.keys() | known_resting.keys()) if resting.get(key) != known_resting.get(key)]
    return found


def true_rows(world: "World", account: str, symbol: str,
              at_ms: int) -> tuple[dict[str, Position], dict[str, Order]]:
    """What the exchange holds: positions by side, resting orders by id (conditional ones where they are synced)."""
    book, market = world.book_of(account), world.venue.markets.by_symbol[symbol]
    world.venue.matching.touch(book, at_ms)
    held = [unified_position(view) for view in positions(book, market) if view.size]
    resting = [unified_order(view) for view in open_orders(book, market)]
    if Surface.CONDITIONAL in world.setup.tariffs[world.accounts[account].exchange].surfaces:
        resting += [unified_trigger(trigger) for trigger in open_triggers(book, market)]
    return {row.side: row for row in held}, {row.id: row for row in resting}


def store_differences(world: "World") -> list[str]:
    """In which rows the store and the core's books differ; equal once everything is committed."""
    assert world.life is not None
    known: dict[Any, Any] = {}
    for account, state in world.life.core.fleet.account_by_id.items():
        for symbol, book in state.books.items():
            known.update({(account, symbol, row.side): row for row in book.positions})
            known.update({(account, symbol, row.id): row for row in book.orders})
    rows: dict[Any, Any] = world.store.positions | world.store.orders
    stored = {key: row for key, row in rows.items() if key[0] in world.accounts}  # of others, as they were left
    keys = sorted(known.keys() | stored.keys())
    return [f"{' '.join(key)}: the store holds {_row(stored.get(key))}, the core {_row(known.get(key))}"
            for key in keys if _terms(known.get(key)) != _terms(stored.get(key))]


def _terms(row: Position | Order | None) -> Position | Order | None:
    """A position without its instant: one that was left and taken up again on the same terms is no change."""
    return row._replace(updated_at_ms=0) if isinstance(row, Position) else row


def converge(world: "World", left: Callable[[], list[str]]) -> tuple[int, list[str]]:
    """Stop the faults and the trading, let time pass; how long it took, and what is still open at the bound.

    `left` tells what else has to be over by then.
    """
    world.trader.ended = True
    world.venue.matching.halts_at_ms = world.exchange_ms()  # in a large fleet some order is always just being filled
    if world.chaos is not None:
        world.chaos.end()
    began_at_ms = world.now_ms
    end_ms = began_at_ms + bound_ms(world)
    found, unlike = ["nothing was compared"], list[str]()
    while world.now_ms < end_ms:
        world.run(world.now_ms + SECOND_MS)
        _resume_stopped(world)
        found, unlike = differences(world, unlike)
        if not found and world.life is not None and not world.life.committing:
            found = store_differences(world) or left()
            if not found:
                break
    return world.now_ms - began_at_ms, found


def _resume_stopped(world: "World") -> None:
    """Keys are good again: who was refused on the way there is resumed, as an operator would."""
    if world.life is not None:
        for account, state in list(world.life.core.fleet.account_by_id.items()):
            if state.stopped:
                world.resume_account(world.accounts[account])


def _row(row: Position | Order | None) -> str:
    if row is None:
        return "nothing"
    shown = row._asdict()
    return " ".join(str(shown[name]) for name in ("side", "size", "filled", "status", "entry_price", "updated_at_ms")
                    if name in shown)
