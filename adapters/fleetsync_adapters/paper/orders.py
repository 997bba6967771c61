"""What a client may order, and what is refused: placing, cancelling, and the exchange's own interventions."""

import re
from dataclasses import dataclass
from decimal import Decimal

from fleetsync_adapters.paper.books import NOTHING, BookAccount, BookOrder, Books, BookTrigger, usdt
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.matching import Matching
from fleetsync_adapters.paper.prices import Watch
from fleetsync_adapters.paper.refusals import Refusal, cannot_cancel, missing, wrong

PLAIN_TYPES = ("MARKET", "LIMIT")
TRIGGER_TYPES = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX")
_CLIENT_ID = re.compile(r"[.A-Za-z0-9:/_-]{1,36}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a client asks for."""

    market: Market
    side: str
    type: str
    size: Decimal = NOTHING
    price: Decimal = NOTHING
    trigger: Decimal = NOTHING
    reduce_only: bool = False
    close_position: bool = False
    time_in_force: str = "GTC"
    client_id: str = ""


class OrderDesk:
    """Takes tickets and cancellations."""

    def __init__(self, books: Books, matching: Matching) -> None:
        """Write into these books."""
        self.books = books
        self.matching = matching

    def place(self, account: BookAccount, ticket: Ticket, at_ms: int) -> BookOrder:
        """Place a market or limit order.

        Raises:
            Refusal: nothing was placed.
        """
        self.matching.touch(account, at_ms)
        if ticket.type not in PLAIN_TYPES:
            if ticket.type in TRIGGER_TYPES:
                raise Refusal(-4120, "Order type not supported for this endpoint. Please use the Algo Order API.")
            raise Refusal(-1116, "Invalid orderType.")
        _check(ticket)
        newest = account.orders.get(account.by_client_id.get(ticket.client_id, 0))
        if newest is not None and newest.is_open:
            raise Refusal(-4116, "ClientOrderId is duplicated.")
        size = self._size(account, ticket, at_ms)
        price = ticket.market.price(at_ms)
        if ticket.type == "LIMIT" and ticket.time_in_force == "GTX":
            crosses = price <= ticket.price if ticket.side == "BUY" else price >= ticket.price
            if crosses:
                raise Refusal(-5022, "Due to the order could not be executed as maker, the Post Only order will be "
                              "rejected. The order will not be recorded in the order history")
        if not ticket.reduce_only:
            self._check_funds(account, ticket.market, size, ticket.price or price, at_ms)
        number = self.books.next_order_id()
        order = BookOrder(
            id=number, client_id=ticket.client_id or f"paper{number}", market=ticket.market, side=ticket.side,
            type=ticket.type, price=ticket.price if ticket.type == "LIMIT" else NOTHING, size=size,
            reduce_only=ticket.reduce_only, time_in_force=ticket.time_in_force, created_at_ms=at_ms,
            updated_at_ms=at_ms,
        )
        self.matching.enter(account, order, at_ms)
        return order

    def place_trigger(self, account: BookAccount, ticket: Ticket, at_ms: int) -> BookTrigger:
        """Place a conditional order.

        Raises:
            Refusal: nothing was placed.
        """
        self.matching.touch(account, at_ms)
        if ticket.type not in TRIGGER_TYPES:
            raise Refusal(-1116, "Invalid orderType.")
        if ticket.trigger <= NOTHING:
            raise missing("triggerPrice")
        _check(ticket)
        newest = account.triggers.get(account.triggers_by_client_id.get(ticket.client_id, 0))
        if newest is not None and newest.is_open:
            raise Refusal(-4116, "ClientOrderId is duplicated.")
        falling = (ticket.side == "SELL") == ticket.type.startswith("STOP")
        price = ticket.market.price(at_ms)
        if (price <= ticket.trigger) if falling else (price >= ticket.trigger):
            raise Refusal(-2021, "Order would immediately trigger.")
        self.books.tidy(account, at_ms)
        number = self.books.next_trigger_id()
        trigger = BookTrigger(
            id=number, client_id=ticket.client_id or f"paper{number}", market=ticket.market, side=ticket.side,
            type=ticket.type, trigger=ticket.trigger, price=ticket.price, size=ticket.size,
            reduce_only=ticket.reduce_only, close_position=ticket.close_position, time_in_force=ticket.time_in_force,
            created_at_ms=at_ms, updated_at_ms=at_ms,
            watch=Watch(ticket.market.path, ticket.market.ticks(ticket.trigger), falling, at_ms),
        )
        account.triggers[number] = account.waiting[number] = trigger
        account.triggers_by_client_id[trigger.client_id] = number
        account.version += 1
        self.matching.wait(account, trigger.watch)
        return trigger

    def cancel(self, account: BookAccount, order: BookOrder | None, at_ms: int) -> BookOrder:
        """Cancel a resting order; what is filled stays filled.

        Raises:
            Refusal: it has ended or never was.
        """
        self.matching.touch(account, at_ms)
        if order is None or not order.is_open:
            raise cannot_cancel()
        self.matching.end(account, order, "CANCELED", at_ms)
        return order

    def cancel_trigger(self, account: BookAccount, trigger: BookTrigger | None, at_ms: int) -> BookTrigger:
        """Cancel a conditional order.

        Raises:
            Refusal: it has ended or never was.
        """
        self.matching.touch(account, at_ms)
        if trigger is None or not trigger.is_open:
            raise cannot_cancel()
        self.matching.end_trigger(account, trigger, "CANCELED", at_ms)
        return trigger

    def liquidate(self, account: BookAccount, market: Market, at_ms: int) -> BookOrder:
        """The exchange takes the position over: it cancels the symbol's orders and closes what is open.

        Raises:
            Refusal: there is no position.
        """
        self.matching.touch(account, at_ms)
        position = account.positions.get(market.id)
        if position is None:
            raise Refusal(-2022, "There is no position to liquidate.")
        for order in [one for one in account.resting.values() if one.market is market]:
            self.matching.end(account, order, "CANCELED", at_ms)
        for trigger in [one for one in account.waiting.values() if one.market is market]:
            self.matching.end_trigger(account, trigger, "CANCELED", at_ms)
        number = self.books.next_order_id()
        side = "SELL" if position.size > NOTHING else "BUY"
        order = BookOrder(
            id=number, client_id=f"autoclose-{at_ms}{number % 1000:03d}", market=market, side=side, type="LIMIT",
            price=market.price(at_ms), size=abs(position.size), reduce_only=False, time_in_force="IOC",
            created_at_ms=at_ms, updated_at_ms=at_ms,
        )
        self.matching.enter(account, order, at_ms)
        return order

    def available(self, account: BookAccount, at_ms: int) -> Decimal:
        """What is free for new orders: equity less the margin of positions and of orders that open."""
        equity = account.balance
        bound = NOTHING
        for position in account.positions.values():
            price = position.market.price(at_ms)
            equity += (price - position.entry) * position.size
            bound += abs(position.size) * price
        for order in account.resting.values():
            if not order.reduce_only:
                bound += order.remaining * order.price
        return usdt(equity - bound / self.books.rules.leverage)

    def _size(self, account: BookAccount, ticket: Ticket, at_ms: int) -> Decimal:
        """The size that is really placed: a reduce-only order is cut to the position."""
        if ticket.reduce_only:
            position = account.positions.get(ticket.market.id)
            held = NOTHING if position is None else position.size
            closable = max(-held if ticket.side == "BUY" else held, NOTHING)
            if closable == NOTHING:
                raise Refusal(-2022, "ReduceOnly Order is rejected.")
            return min(ticket.size, closable)
        worth = ticket.size * (ticket.price or ticket.market.price(at_ms))
        if worth < ticket.market.min_notional:
            raise Refusal(-4164, f"Order's notional must be no smaller than {ticket.market.min_notional} "
                          "(unless you choose reduce only).")
        return ticket.size

    def _check_funds(self, account: BookAccount, market: Market, size: Decimal, price: Decimal, at_ms: int) -> None:
        if size * price / self.books.rules.leverage > self.available(account, at_ms):
            raise Refusal(-2019, "Margin is insufficient.")


def _check(ticket: Ticket) -> None:
    """Everything about a ticket that needs no look at the account."""
    market = ticket.market
    if ticket.side not in {"BUY", "SELL"}:
        raise Refusal(-1117, "Invalid side.")
    if ticket.time_in_force not in TIMES_IN_FORCE:
        raise Refusal(-1115, "Invalid timeInForce.")
    if ticket.client_id and not _CLIENT_ID.fullmatch(ticket.client_id):
        raise Refusal(-4015, "Client order id is not valid.")
    if ticket.close_position:
        if ticket.size != NOTHING or not ticket.type.endswith("_MARKET"):
            raise wrong("closePosition")
    elif ticket.size <= NOTHING:
        raise Refusal(-4003, "Quantity less than or equal to zero.")
    if ticket.size % market.lot:
        raise Refusal(-1111, "Precision is over the maximum defined for this asset.")
    if not ticket.type.endswith("MARKET") and ticket.price <= NOTHING:
        raise missing("price")
    if ticket.price % market.tick or ticket.trigger % market.tick:
        raise Refusal(-4014, "Price not increased by tick size.")
