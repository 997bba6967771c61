"""Matching: what happens to resting orders as prices move, and what a fill does to the books.

Matching is lazy and yet exact: prices are a function of time, so whenever an account is touched, everything that
happened to its orders since the last touch is worked out in the order of its instants. When and how often the books
are touched changes nothing in them.
"""

from decimal import ROUND_DOWN, Decimal

from fleetsync.units import HOUR_MS
from fleetsync_adapters.paper.books import (
    ENTRY,
    FOREVER_MS,
    NOTHING,
    BookAccount,
    BookFill,
    BookOrder,
    BookPosition,
    Books,
    BookTrigger,
    usdt,
)
from fleetsync_adapters.paper.prices import STEP_MS, Watch
from fleetsync_adapters.paper.seeded import draw

_SEARCH_AHEAD_MS = HOUR_MS  # how far ahead the next hit is looked for at one touch
_PARTS = (Decimal("0.25"), Decimal("0.5"), Decimal(1), Decimal(1))


class Matching:
    """Fills what the price has reached."""

    def __init__(self, books: Books) -> None:
        """Match these books."""
        self.books = books
        self.halts_at_ms = FOREVER_MS  # from then on nothing is filled any more, wherever prices go

    def touch(self, account: BookAccount, at_ms: int) -> None:
        """Bring one account's books up to an instant."""
        at_ms = min(at_ms, self.halts_at_ms)
        while account.due_at_ms <= at_ms:
            hit_at_ms, first = self._next_hit(account, at_ms)
            if first is None:
                account.due_at_ms = hit_at_ms
                if hit_at_ms == FOREVER_MS:
                    self.books.busy.pop(account.number, None)
                return
            if isinstance(first, BookTrigger):
                self._pull(account, first, hit_at_ms)
            else:
                self._fill_part(account, first, hit_at_ms)

    def sweep(self, at_ms: int) -> None:
        """Bring every account with something waiting up to an instant."""
        for account in list(self.books.busy.values()):
            self.touch(account, at_ms)

    def wait(self, account: BookAccount, watch: Watch) -> None:
        """Something new of this account waits for a price."""
        account.due_at_ms = min(account.due_at_ms, watch.searched_until_ms)
        self.books.busy[account.number] = account

    def _next_hit(self, account: BookAccount, at_ms: int) -> tuple[int, BookOrder | BookTrigger | None]:
        """The earliest hit up to `at_ms` and whom it hit; or (when to look again, None)."""
        until_ms = at_ms + _SEARCH_AHEAD_MS
        again_ms = FOREVER_MS
        best: tuple[int, int, BookOrder | BookTrigger] | None = None
        candidates: list[BookOrder | BookTrigger] = [*account.waiting.values(), *account.resting.values()]
        for one in candidates:
            watch = one.watch
            if watch is None:
                continue
            hit_at_ms = watch.search(until_ms)
            if hit_at_ms is None:
                again_ms = min(again_ms, watch.searched_until_ms)
            elif hit_at_ms > at_ms:
                again_ms = min(again_ms, hit_at_ms)
            elif best is None or (hit_at_ms, one.id) < best[:2]:
                best = (hit_at_ms, one.id, one)
        return (again_ms, None) if best is None else (best[0], best[2])

    def _fill_part(self, account: BookAccount, order: BookOrder, at_ms: int) -> None:
        size = order.remaining
        if self.books.rules.in_parts:
            share = _PARTS[draw(self.books.markets.seed, order.id, order.parts) % len(_PARTS)]
            lot = order.market.lot
            size = max((size * share / lot).quantize(Decimal(1), ROUND_DOWN) * lot, lot)
        assert order.watch is not None, "only a resting order is filled in parts"
        order.watch.restart(at_ms + STEP_MS - 1)
        self.fill(account, order, min(size, order.remaining), order.price, at_ms, maker=True)

    def _pull(self, account: BookAccount, trigger: BookTrigger, at_ms: int) -> None:
        """A conditional order becomes an order, or expires when there is nothing left to reduce."""
        position = account.positions.get(trigger.market.id)
        held = NOTHING if position is None else position.size
        closable = max(-held if trigger.side == "BUY" else held, NOTHING)
        size = closable if trigger.close_position else trigger.size
        if trigger.reduce_only or trigger.close_position:
            size = min(size, closable)
        if size == NOTHING:
            self.end_trigger(account, trigger, "EXPIRED", at_ms)
            return
        is_market = trigger.type.endswith("_MARKET")
        order = BookOrder(
            id=self.books.next_order_id(), client_id=trigger.client_id, market=trigger.market, side=trigger.side,
            type="MARKET" if is_market else "LIMIT", price=NOTHING if is_market else trigger.price, size=size,
            reduce_only=trigger.reduce_only or trigger.close_position, time_in_force=trigger.time_in_force,
            created_at_ms=at_ms, updated_at_ms=at_ms,
        )
        trigger.order_id = order.id
        self.end_trigger(account, trigger, "FINISHED", at_ms)
        self.enter(account, order, at_ms)

    def enter(self, account: BookAccount, order: BookOrder, at_ms: int) -> None:
        """A new order meets the market: it fills at once, rests, or expires."""
        self.books.tidy(account, at_ms)
        account.orders[order.id] = order
        account.resting[order.id] = order
        account.by_client_id[order.client_id] = order.id
        account.version += 1
        price = order.market.price(at_ms)
        crosses = order.type == "MARKET" or (price <= order.price if order.side == "BUY" else price >= order.price)
        if crosses:
            self.fill(account, order, order.size, price, at_ms, maker=False)
        elif order.time_in_force in {"IOC", "FOK"}:
            self.end(account, order, "EXPIRED", at_ms)
        else:
            order.watch = Watch(order.market.path, order.market.ticks(order.price), order.side == "BUY", at_ms)
            self.wait(account, order.watch)

    def fill(
        self, account: BookAccount, order: BookOrder, size: Decimal, price: Decimal, at_ms: int, *, maker: bool
    ) -> None:
        """Execute `size` of an order at `price`."""
        assert NOTHING < size <= order.remaining, "a fill is never more than what remains"
        rules = self.books.rules
        position = account.positions.setdefault(order.market.id, BookPosition(order.market))
        signed = size if order.side == "BUY" else -size
        profit = net(position, signed, price)
        fee = usdt(price * size * (rules.maker_fee if maker else rules.taker_fee))
        position.updated_at_ms = at_ms
        account.balance += profit - fee
        order.filled += size
        order.quote += price * size
        order.parts += 1
        order.updated_at_ms = at_ms
        order.status = "FILLED" if order.remaining == NOTHING else "PARTIALLY_FILLED"
        account.fills.setdefault(order.market.id, []).append(
            BookFill(self.books.next_fill_id(), order.id, order.market, order.side, price, size, profit, fee, maker,
                     at_ms, position.size, position.entry)
        )
        if position.size == NOTHING:
            del account.positions[order.market.id]
        if order.remaining == NOTHING:
            self.end(account, order, "FILLED", at_ms)
        account.version += 1
        self._shrink_reducers(account, position, at_ms)

    def end(self, account: BookAccount, order: BookOrder, status: str, at_ms: int) -> None:
        """An order leaves the book."""
        order.status = status
        order.ended_at_ms = order.updated_at_ms = at_ms
        account.resting.pop(order.id, None)
        account.version += 1

    def end_trigger(self, account: BookAccount, trigger: BookTrigger, status: str, at_ms: int) -> None:
        """A conditional order stops waiting."""
        trigger.status = status
        trigger.ended_at_ms = trigger.updated_at_ms = at_ms
        account.waiting.pop(trigger.id, None)
        account.version += 1

    def _shrink_reducers(self, account: BookAccount, position: BookPosition, at_ms: int) -> None:
        """A reduce-only order never rests for more than the position: it is shrunk, or ended with the position."""
        for order in [one for one in account.resting.values() if one.reduce_only and one.market is position.market]:
            closable = max(-position.size if order.side == "BUY" else position.size, NOTHING)
            if closable == NOTHING:
                self.end(account, order, "EXPIRED", at_ms)
            elif order.remaining > closable:
                order.size = order.filled + closable
                order.updated_at_ms = at_ms
                account.version += 1


def net(position: BookPosition, signed: Decimal, price: Decimal) -> Decimal:
    """Net a signed fill into a position; returns the realised profit."""
    held = position.size
    closes = min(abs(held), abs(signed)) if held * signed < NOTHING else NOTHING
    profit = NOTHING
    if closes:
        gain = price - position.entry if held > NOTHING else position.entry - price
        profit = usdt(gain * closes)
    position.size = held + signed
    opens = abs(signed) - closes
    if position.size == NOTHING:
        position.entry = NOTHING
    elif opens and closes:  # flipped: what is left is new
        position.entry = price
    elif opens:
        position.entry = ((abs(held) * position.entry + opens * price) / abs(position.size)).quantize(ENTRY)
    return profit
