"""The paper exchange as a witness: its own ledger and books, held against what the engine says.

Only an exchange on loopback is asked whether it is a paper exchange: nobody else answers there.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from fleetsync.engine import Engine
from fleetsync.model import Account, Robot, Surface
from fleetsync.ports import Loaded
from fleetsync_adapters.cli.assembly import Assembly
from fleetsync_adapters.paper.keys import account_keys
from fleetsync_adapters.paper.ledger import NO_ACCOUNT, Ledger
from fleetsync_adapters.paper.process import PaperAdmin, PaperFailed

_MOST_ACCOUNTS = 100_000  # of a paper exchange: that many keys are tried to find an account's own
_PAGE_ROWS = 10_000
_ROUNDS = 5
_TOTALS = ("calls", "worst_minute_calls", "worst_minute_weight", "refused_429", "refused_418")
_POSITION = ("symbol", "side", "size", "entry_price")
_ORDER = ("id", "client_id", "symbol", "side", "type", "price", "size", "filled", "reduce_only", "conditional")
Book = frozenset[tuple[Any, ...]]  # the positions and orders of one account on one symbol


class Witness:
    """A paper exchange that serves accounts of the fleet."""

    def __init__(self, exchange: str, base_url: str, books: Mapping[str, str], first_row: int, *,
                 conditional: bool = False) -> None:
        """A witness for some accounts.

        Args:
            exchange: its ccxt id.
            base_url: where it is.
            books: the exchange's own names of our accounts.
            first_row: rows of its ledger above this are of this run.
            conditional: whether the engine reads conditional orders, too.
        """
        self.exchange = exchange
        self._admin = PaperAdmin(base_url)
        self._books = dict(books)
        self._first_row = first_row
        self._conditional = conditional
        self._address = _address(base_url)

    async def close(self) -> None:
        """Disconnect."""
        await self._admin.close()

    async def ledger(self) -> dict[str, int] | None:
        """Totals of our own requests since the run began; None when the ledger has dropped some of them."""
        ours, after = Ledger(), self._first_row
        while True:
            page = await self._admin.ledger(after, _PAGE_ROWS)
            rows = page["rows"]
            if rows and rows[0]["number"] != after + 1:
                return None
            for row in rows:
                if row["ip"] == self._address:
                    number = ours.receive(row["at_ms"], NO_ACCOUNT, row["endpoint"], row["weight"], row["ip"])
                    ours.settle(number, row["status"])
            if len(rows) < _PAGE_ROWS:
                break
            after = page["next_after"]
        totals = ours.summary()
        return {name: totals[name] for name in _TOTALS}

    async def mismatches(self, engine: Engine, robots: Sequence[Robot], *, timeout_ms: int) -> int | None:
        """How many robots' committed state differs from the exchange's books after a quiet sync of all.

        Prices move on meanwhile, and orders are filled: robots whose own book moved during the sync are read again.
        None when not every robot could be read in time.
        """
        watched = {robot.id: robot for robot in robots if robot.account in self._books}
        deadline_ms = engine.clock.now_ms() + timeout_ms
        before = await self._held(watched.values())
        if await engine.sync_all(timeout_ms=timeout_ms):
            return None
        for _ in range(_ROUNDS):
            after = await self._held(watched.values())
            known = committed(await asyncio.to_thread(engine.store.load))
            differ = {robot_id for robot_id, robot in watched.items()
                      if known.book(robot.account, robot.symbol) != after[robot_id]}
            moved = {robot_id for robot_id in differ if before[robot_id] != after[robot_id]}
            left_ms = deadline_ms - engine.clock.now_ms()
            if not moved or left_ms <= 0:
                break
            before = after
            await asyncio.gather(*(engine.sync(robot_id, timeout_ms=left_ms) for robot_id in moved))
        return len(differ)

    async def _held(self, robots: Iterable[Robot]) -> dict[str, Book]:
        """What the exchange's books hold for each robot."""
        accounts = await self._admin.books()
        rows = Rows()
        for name, held in accounts.items():
            for kind in ("positions", "orders", *(("conditional",) if self._conditional else ())):
                for row in held[kind]:
                    rows.add(name, row, _POSITION if kind == "positions" else _ORDER)
        return {robot.id: rows.book(self._books[robot.account], robot.symbol) for robot in robots}


class Rows:
    """Positions and orders by account and symbol, as far as they are compared."""

    def __init__(self) -> None:
        self._by_book: dict[tuple[str, str], set[tuple[Any, ...]]] = {}

    def add(self, account: str, row: Mapping[str, Any], names: tuple[str, ...]) -> None:
        """Take in one position or order."""
        values = tuple(row[name] for name in names)
        self._by_book.setdefault((account, row["symbol"]), set()).add((names, *values))

    def book(self, account: str, symbol: str) -> Book:
        """All of one account on one symbol."""
        return frozenset(self._by_book.get((account, symbol), ()))


def committed(loaded: Loaded) -> Rows:
    """What the store holds."""
    rows = Rows()
    for (account, _, _), position in loaded.positions.items():
        rows.add(account, position._asdict(), _POSITION)
    for (account, _, _), order in loaded.orders.items():
        rows.add(account, order._asdict(), _ORDER)
    return rows


async def find_witness(assembly: Assembly) -> Witness | None:
    """The paper exchange that an exchange of the fleet is served by, if there is one."""
    for spec in assembly.exchanges.values():
        if not spec.base_url or not _on_loopback(spec.base_url):
            continue
        admin = PaperAdmin(spec.base_url)
        try:
            seed = (await admin.ask("GET", "ready"))["seed"]
            first_row = (await admin.summary())["calls"] - 1
        except (PaperFailed, KeyError, TypeError):
            continue
        finally:
            await admin.close()
        ours = [account for account in assembly.accounts if account.exchange == spec.exchange]
        books = await asyncio.to_thread(_names, ours, seed)
        if books:
            surfaces = spec.tariff.surfaces if spec.tariff else ()
            return Witness(spec.exchange, spec.base_url, books, first_row, conditional=Surface.CONDITIONAL in surfaces)
    return None


def _names(accounts: Sequence[Account], seed: int) -> dict[str, str]:
    """The paper exchange's names of our accounts, by their keys, which it derives from its seed."""
    wanted = {account.api_key.reveal: account.id for account in accounts}
    found: dict[str, str] = {}
    for number in range(_MOST_ACCOUNTS):
        if len(found) == len(wanted):
            break
        keys = account_keys(seed, number)
        if keys.api_key in wanted:
            found[wanted[keys.api_key]] = keys.id
    return found


def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or ""


def _on_loopback(base_url: str) -> bool:
    try:
        return _host(base_url) == "localhost" or ipaddress.ip_address(_host(base_url)).is_loopback
    except ValueError:
        return False


def _address(base_url: str) -> str:
    """How we look from there."""
    return "::1" if ":" in _host(base_url) else "127.0.0.1"
