"""The planner: the cheapest set of calls that serves what an account's due robots need.

Costs are compared as shares of the quotas they use: a call that takes 40 of 2,400 a minute and 1 of 1,200 costs
40/2400 + 1/1200. So the plan adapts by itself to whichever limit is scarce for this operator. Surfaces are answered
independently, so the cheapest set is the cheapest cover of each surface, and the choice is exact.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fleetsync.messages import Call
from fleetsync.model import Surface
from fleetsync.tariff import Scope, Tariff

PRICE_UNIT = 1_000_000_000  # prices are integers: billionths of a quota per minute
_LISTS = (Surface.POSITIONS, Surface.ORDERS, Surface.CONDITIONAL)


class Need(NamedTuple):
    """What has to be known about one account now."""

    positions: bool = False
    orders: tuple[str, ...] = ()  # symbols, the most wanted first: a grant may hold only some
    conditional: tuple[str, ...] = ()
    questions: tuple[Call, ...] = ()  # evidence that reconcile asked for
    pages: tuple[tuple[Surface, int], ...] = ()  # pages that the last answers needed, where more than one

    def __bool__(self) -> bool:
        return bool(self.positions or self.orders or self.conditional or self.questions)


class Prices:
    """What each question costs, as one comparable number, under a tariff and the operator's cap."""

    def __init__(self, tariff: Tariff, calls_per_minute: int) -> None:
        per_minute = {quota.name: quota.limit * 60_000 // quota.window_ms or 1 for quota in tariff.quotas}
        egress = {quota.name for quota in tariff.quotas if quota.scope is Scope.EGRESS}
        self._prices = {
            key: PRICE_UNIT // calls_per_minute
            + sum(
                weight * PRICE_UNIT // per_minute[name]
                for name, weight in cost.weights
                # A limit that only this account shares is no price to the fleet; it is a gate, and the budget keeps it.
                if name in egress
            )
            for key, cost in tariff.costs.items()
        }
        self._one = {surface: self._prices.get(f"{surface.value}:symbol") for surface in Surface}
        self._every = {surface: self._prices.get(surface.value) for surface in Surface}
        self._orders_shown = tariff.positions_show_orders
        self._rounds: dict[int, float] = {}
        self.orders_share = (self._one[Surface.ORDERS] or 0) / PRICE_UNIT  # of one symbol, as `round_of` counts

    def of(self, surface: Surface, *, one_symbol: bool) -> int | None:
        """The price of a page; None where the exchange cannot be asked so."""
        return (self._one if one_symbol else self._every)[surface]

    def round_of(self, robots: int) -> float:
        """What one round of an account with so many robots costs, in shares of a minute of the scarce quotas."""
        cost = self._rounds.get(robots)
        if cost is None:
            price = self._every[Surface.POSITIONS] or 0
            if not self._orders_shown:
                one, every = self._one[Surface.ORDERS], self._every[Surface.ORDERS]
                price += min([asked for asked in (one and one * robots, every) if asked], default=0)
            cost = self._rounds[robots] = price / PRICE_UNIT
        return cost


def plan(need: Need, prices: Prices) -> tuple[Call, ...]:
    """The cheapest calls that answer all of `need`: positions first, then lists, then questions."""
    pages = dict(need.pages)
    calls: list[Call] = []
    asked = [question for question in need.questions if question.surface in _LISTS]
    if need.positions or any(question.surface is Surface.POSITIONS for question in asked):
        calls.append(Call(Surface.POSITIONS, pages=pages.get(Surface.POSITIONS, 1)))
    for surface, wanted in ((Surface.ORDERS, need.orders), (Surface.CONDITIONAL, need.conditional)):
        symbols = {*wanted, *[question.symbol for question in asked if question.surface is surface]}
        if symbols:
            calls.extend(_cover(surface, sorted(symbols), pages.get(surface, 1), prices))
    calls.extend([question for question in need.questions if not answers(calls, question)])
    return tuple(calls)


def _cover(surface: Surface, symbols: Sequence[str], pages: int, prices: Prices) -> Iterable[Call]:
    if "" in symbols:
        return (Call(surface, pages=pages),)
    one, every = prices.of(surface, one_symbol=True), prices.of(surface, one_symbol=False)
    if every is not None and (one is None or every <= one * len(symbols)):
        return (Call(surface, pages=pages),)
    if one is None:
        return ()  # the exchange has no such surface
    return [Call(surface, symbol, pages=pages) for symbol in symbols]  # a list of one symbol can be long, too


def answers(calls: Iterable[Call], question: Call) -> bool:
    """Whether one of the calls answers a question: it is the same, or a list that holds what is asked for."""
    if question.surface not in _LISTS:
        return question in calls
    return any(call.surface is question.surface and call.symbol in {"", question.symbol} for call in calls)


def cut(calls: Sequence[Call], tariff: Tariff, calls_max: int, weights_max: dict[str, int]) -> int:
    """How many of the calls, from the first on, fit one grant; at least one.

    `weights_max` gives for each quota the largest charge that its ledger was made for.
    """
    spent: dict[str, int] = {}
    requests = 0
    for taken, call in enumerate(calls):
        requests += call.pages
        fits = requests <= calls_max
        for name, weight in tariff.cost(call).weights:
            spent[name] = spent.get(name, 0) + weight * call.pages
            fits = fits and spent[name] <= weights_max[name]
        if not fits and taken:
            return taken
    return len(calls)
