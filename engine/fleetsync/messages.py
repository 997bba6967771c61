"""What moves along the arrows: frozen messages, in (to the core) and out (commands).

    engine -> crew:  OpenExchange, Dispatch          worker -> core:  SyncDone, SymbolsUnknown, WorkerUp, WorkerLost

Across a process they travel as compact orjson frames (`wire`). An `Answer` is what one call brought; a `Request` is one
HTTP request as it really left, for the ledger: the two differ when a call needs several pages.
"""

from typing import NamedTuple

from fleetsync.model import Account, Fault, Fill, Order, Position, Surface

Rows = tuple[Position, ...] | tuple[Order, ...] | tuple[Fill, ...]


class Call(NamedTuple):
    """One question to an exchange. What it costs is the quota table's to say, not the call's."""

    surface: Surface
    symbol: str = ""  # "" asks for all symbols
    order_id: str = ""  # for Surface.ORDER: the exchange's id ...
    client_id: str = ""  # ... or ours, where only that is known
    since_ms: int = 0  # for Surface.FILLS
    pages: int = 1  # how many pages may be read (and were granted) before the answer is partial
    conditional: bool = False  # for Surface.ORDER: ask the endpoint of conditional orders


class Request(NamedTuple):
    """One HTTP request that left this machine, as the exchange's own ledger would show it."""

    endpoint: str  # "GET /fapi/v3/positionRisk"
    weight: int  # as charged by our quota table
    sent_at_ms: int
    status: int  # 0: no answer
    used_weight: int = -1  # the exchange's counter after it (its header); -1 where it sends none
    retry_after_ms: int = 0  # from Retry-After on 429 / 418


class Answer(NamedTuple):
    """What one call brought.

    `as_of_ms` is when the request was *sent*: what the answer says was true no earlier, so an age counted from it is
    never too small. `rows` is None when the answer equals this account's previous one to the same question (the worker
    compared them) or when there was a fault.
    """

    call: Call
    as_of_ms: int
    complete: bool = False  # every row the exchange holds for this question was read
    rows: Rows | None = None
    fault: Fault | None = None
    detail: str = ""  # for people: the exchange's words, stripped of secrets
    retry_after_ms: int = 0  # on RATE_LIMITED and BANNED: how long the exchange asks us to stay away; 0: not said

    @property
    def unchanged(self) -> bool:
        """Answered, and equal to the previous answer."""
        return self.rows is None and self.fault is None


class OpenExchange(NamedTuple):
    """Load an exchange's markets in a worker; answered by a `SyncDone` with one MARKETS answer."""

    sync_id: int
    exchange: str
    egress: str
    send_by_ms: int


class Dispatch(NamedTuple):
    """Make these calls for one account. The grant has been given; it runs out at `send_by_ms`."""

    sync_id: int
    account: str
    calls: tuple[Call, ...]
    send_by_ms: int
    full: bool = False  # send rows even when they equal the previous ones
    urgent: bool = False  # somebody waits for it: neither it nor its report waits for others on its way


class SyncDone(NamedTuple):
    """A worker's result for one dispatch: an answer for each call, and every request that was really made."""

    sync_id: int
    answers: tuple[Answer, ...]
    requests: tuple[Request, ...]
    urgent: bool = False  # as its dispatch
    taken_at_ms: int = 0  # when the worker came to it; 0: not said


class SymbolsUnknown(NamedTuple):
    """The markets of an exchange are loaded and do not list these symbols of an account."""

    account: str
    symbols: tuple[str, ...]


class WorkerUp(NamedTuple):
    """A worker process is ready for dispatches; it knows no exchange and no account yet."""

    worker: int
    pid: int


class WorkerLost(NamedTuple):
    """A worker died or hung; whatever it had in flight may or may not have been sent."""

    worker: int
    reason: str


class AddAccount(NamedTuple):
    """To a worker: serve this account (again); `symbols` are checked once the markets are loaded."""

    account: Account
    symbols: tuple[str, ...]


class RemoveAccount(NamedTuple):
    """To a worker: forget this account."""

    account: str


FromWorker = SyncDone | SymbolsUnknown | WorkerUp | WorkerLost
ToWorker = OpenExchange | Dispatch | AddAccount | RemoveAccount
