"""The exchange's own books: accounts, netted positions, orders, conditional orders, fills.

This file is what is written in the books and how long it stays there; `matching` and `orders` write, `views` reads.
An idle account costs a few hundred bytes. Nothing here reads a clock: every instant comes in.
"""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from fleetsync.units import DAY_MS
from fleetsync_adapters.paper.keys import AccountKeys, account_keys
from fleetsync_adapters.paper.markets import Market, Markets
from fleetsync_adapters.paper.prices import Watch

NOTHING = Decimal(0)
CENT = Decimal("0.00000001")  # amounts of USDT are kept to eight decimals, as the exchange does
ENTRY = Decimal("0.000000000001")
FOREVER_MS = 1 << 62

OPEN_STATES = ("NEW", "PARTIALLY_FILLED")


def usdt(amount: Decimal) -> Decimal:
    """An amount of USDT as it is booked."""
    return amount.quantize(CENT, ROUND_HALF_EVEN)


@dataclass(slots=True)
class BookPosition:
    """A netted position; `size` is negative for a short one."""

    market: Market
    size: Decimal = NOTHING
    entry: Decimal = NOTHING
    updated_at_ms: int = 0


@dataclass(slots=True)
class BookOrder:
    """An order on the book, or one that has ended."""

    id: int
    client_id: str
    market: Market
    side: str  # "BUY" | "SELL"
    type: str  # "LIMIT" | "MARKET"
    price: Decimal  # 0 for market orders
    size: Decimal
    reduce_only: bool
    time_in_force: str
    created_at_ms: int
    updated_at_ms: int
    status: str = "NEW"
    filled: Decimal = NOTHING
    quote: Decimal = NOTHING  # the sum of price x size of its fills
    ended_at_ms: int = 0
    parts: int = 0  # how many fills it has
    watch: Watch | None = None  # waits for its price; None when it never rested

    @property
    def is_open(self) -> bool:
        """Whether it still rests on the book."""
        return self.ended_at_ms == 0

    @property
    def remaining(self) -> Decimal:
        """What is not filled yet."""
        return self.size - self.filled


@dataclass(slots=True)
class BookTrigger:
    """A conditional ("algo") order: becomes an order when the price reaches its trigger."""

    id: int
    client_id: str
    market: Market
    side: str
    type: str  # "STOP" | "STOP_MARKET" | "TAKE_PROFIT" | "TAKE_PROFIT_MARKET"
    trigger: Decimal
    price: Decimal
    size: Decimal  # 0 with `close_position`: whatever is open then
    reduce_only: bool
    close_position: bool
    time_in_force: str
    created_at_ms: int
    updated_at_ms: int
    watch: Watch
    status: str = "NEW"  # | "FINISHED" | "CANCELED" | "EXPIRED"
    ended_at_ms: int = 0
    order_id: int = 0  # the order that it became

    @property
    def is_open(self) -> bool:
        """Whether it still waits."""
        return self.ended_at_ms == 0


@dataclass(frozen=True, slots=True)
class BookFill:
    """One execution, and the position it left behind (so that an older state can be shown again)."""

    id: int
    order_id: int
    market: Market
    side: str
    price: Decimal
    size: Decimal
    profit: Decimal
    fee: Decimal
    maker: bool
    at_ms: int
    size_after: Decimal
    entry_after: Decimal


@dataclass(slots=True)
class BookAccount:
    """One account. `version` moves with every change a client could see; `due_at_ms` is when to match again."""

    keys: AccountKeys
    balance: Decimal
    deposited: Decimal
    positions: dict[str, BookPosition] = field(default_factory=dict)  # by market id; only open ones
    orders: dict[int, BookOrder] = field(default_factory=dict)  # ascending ids; ended ones too, until forgotten
    resting: dict[int, BookOrder] = field(default_factory=dict)
    by_client_id: dict[str, int] = field(default_factory=dict)  # the newest order with that client id
    triggers: dict[int, BookTrigger] = field(default_factory=dict)
    waiting: dict[int, BookTrigger] = field(default_factory=dict)
    triggers_by_client_id: dict[str, int] = field(default_factory=dict)
    fills: dict[str, list[BookFill]] = field(default_factory=dict)  # by market id, ascending
    version: int = 0
    due_at_ms: int = FOREVER_MS
    shown: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    """By question (surface, symbol): of which version rows were made last, and these rows."""
    tidy_at: int = 64  # how many orders are kept before the next look for forgotten ones

    @property
    def id(self) -> str:
        """The exchange's own name of the account."""
        return self.keys.id

    @property
    def number(self) -> int:
        """Its number, from 0."""
        return self.keys.number


@dataclass(frozen=True, slots=True)
class BookRules:
    """What the exchange charges, allows and remembers; all of it can be changed."""

    balance: Decimal = Decimal(100_000)
    leverage: int = 20
    taker_fee: Decimal = Decimal("0.0005")
    maker_fee: Decimal = Decimal("0.0002")
    in_parts: bool = True  # limit orders fill in seeded parts
    unfilled_kept_ms: int = 3 * DAY_MS  # an ended order without a fill is forgotten after this ...
    orders_kept_ms: int = 90 * DAY_MS  # ... every ended order after this
    fills_kept_ms: int = 90 * DAY_MS


class Books:
    """Every account, and the numbers that orders and fills get."""

    def __init__(self, markets: Markets, rules: BookRules | None = None) -> None:
        """Empty books for these markets."""
        self.markets = markets
        self.rules = rules or BookRules()
        self.accounts: list[BookAccount] = []
        self.by_key: dict[str, BookAccount] = {}
        self.by_id: dict[str, BookAccount] = {}
        self.busy: dict[int, BookAccount] = {}  # accounts with something that waits for a price
        self._order_id = 10_000_000_000
        self._trigger_id = 3_000_000
        self._fill_id = 700_000_000

    def open_accounts(self, count: int, balance: Decimal | None = None) -> list[BookAccount]:
        """Open the next `count` accounts; their keys follow from the seed."""
        opened = []
        for _ in range(count):
            amount = self.rules.balance if balance is None else balance
            account = BookAccount(account_keys(self.markets.seed, len(self.accounts)), amount, amount)
            self.accounts.append(account)
            self.by_key[account.keys.api_key] = account
            self.by_id[account.id] = account
            opened.append(account)
        return opened

    def next_order_id(self) -> int:
        """A new order's id."""
        self._order_id += 1
        return self._order_id

    def next_trigger_id(self) -> int:
        """A new conditional order's id."""
        self._trigger_id += 1
        return self._trigger_id

    def next_fill_id(self) -> int:
        """A new fill's id."""
        self._fill_id += 1
        return self._fill_id

    def remembers(self, order: BookOrder | BookTrigger, at_ms: int) -> bool:
        """Whether the exchange would still answer about this order."""
        if order.is_open:
            return True
        unfilled = order.filled == 0 if isinstance(order, BookOrder) else order.order_id == 0
        kept_ms = self.rules.unfilled_kept_ms if unfilled else self.rules.orders_kept_ms
        return at_ms - order.ended_at_ms <= kept_ms

    def tidy(self, account: BookAccount, at_ms: int) -> None:
        """Drop what the exchange would not show any more; costs little because it doubles its distance."""
        if len(account.orders) + len(account.triggers) < account.tidy_at:
            return
        account.orders = {key: order for key, order in account.orders.items() if self.remembers(order, at_ms)}
        account.triggers = {key: one for key, one in account.triggers.items() if self.remembers(one, at_ms)}
        account.by_client_id = {order.client_id: key for key, order in account.orders.items()}
        account.triggers_by_client_id = {one.client_id: key for key, one in account.triggers.items()}
        oldest_ms = at_ms - self.rules.fills_kept_ms
        for market_id, fills in list(account.fills.items()):
            if fills[0].at_ms < oldest_ms:
                account.fills[market_id] = [fill for fill in fills if fill.at_ms >= oldest_ms] or fills[-1:]
        account.tidy_at = max(64, 2 * (len(account.orders) + len(account.triggers)))
