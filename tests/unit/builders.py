"""Short ways to say what an exchange shows; every test names only what it is about."""

from typing import Any

from fleetsync.book import Book, Finding, Rules, Sight
from fleetsync.model import Fill, Order, Position, Surface

SYMBOL = "BTC/USDT:USDT"
T0 = 1_000_000  # an instant that is surely after every `created_at_ms` used here


def position(size: str = "1", side: str = "long", at_ms: int = 500, **more: Any) -> Position:
    """An open position, last moved at `at_ms`."""
    return Position(SYMBOL, side, size, "100", at_ms)._replace(**more)


def order(order_id: str = "7", filled: str = "0", at_ms: int = 500, **more: Any) -> Order:
    """A resting limit order of size 2, created at 400."""
    row = Order(order_id, f"c{order_id}", SYMBOL, "buy", "limit", "100", "2", filled, "open", reduce_only=False,
                conditional=False, created_at_ms=400, updated_at_ms=at_ms)
    return row._replace(**more)


def fill(fill_id: str, size: str = "1", side: str = "sell", at_ms: int = 600, order_id: str = "9") -> Fill:
    """One execution."""
    return Fill(fill_id, order_id, SYMBOL, side, "100", size, at_ms)


def positions(as_of_ms: int, *rows: Position, complete: bool = True) -> Sight:
    """A list of positions."""
    return Sight(Surface.POSITIONS, as_of_ms, complete, rows)


def orders(as_of_ms: int, *rows: Order, complete: bool = True) -> Sight:
    """A list of resting orders."""
    return Sight(Surface.ORDERS, as_of_ms, complete, rows)


def conditionals(as_of_ms: int, *rows: Order, complete: bool = True) -> Sight:
    """A list of conditional orders."""
    return Sight(Surface.CONDITIONAL, as_of_ms, complete, rows)


def lookup(as_of_ms: int, row: Order) -> Sight:
    """The answer to a question for one order."""
    return Sight(Surface.ORDER, as_of_ms, complete=True, rows=(row,), order_id=row.id)


def not_found(as_of_ms: int, order_id: str = "7") -> Sight:
    """The exchange does not know the order."""
    return Sight(Surface.ORDER, as_of_ms, complete=False, order_id=order_id, not_found=True)


def fills(as_of_ms: int, *rows: Fill, since_ms: int = 0, complete: bool = True) -> Sight:
    """Executions from `since_ms` on."""
    return Sight(Surface.FILLS, as_of_ms, complete, rows, since_ms=since_ms)


def book(*known: Position | Order, read_at_ms: int = 800, **more: Any) -> Book:
    """What is known, read at `read_at_ms` on every surface."""
    read = Book("main", SYMBOL,
                tuple(row for row in known if isinstance(row, Position)),
                tuple(row for row in known if isinstance(row, Order)),
                positions_as_of_ms=read_at_ms, orders_as_of_ms=read_at_ms, conditional_as_of_ms=read_at_ms)
    return read._replace(**more)


RULES = Rules(prefixes=("bot-",))


def kinds(findings: tuple[Finding, ...]) -> list[str]:
    """What was found, in order."""
    return [finding.kind for finding in findings]
