"""The exchange's own ledger: every request it received, compact, and exact totals always.

Rows are kept in arrays up to a bound; then the older half goes. Totals and the worst windows are counted as requests
come in, so they never depend on what is still kept. Instants must not decrease.
"""

from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from fleetsync.units import MINUTE_MS

NO_ACCOUNT = -1


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One request as it was received. Status 0: it got no answer (yet)."""

    number: int
    at_ms: int
    account: int  # NO_ACCOUNT: public, or an unknown key
    endpoint: str
    weight: int
    status: int
    ip: str


@dataclass(slots=True)
class Tally:
    """Exact totals of one group of requests."""

    calls: int = 0
    weight: int = 0
    worst_minute_calls: int = 0  # in any 60 s, wherever they start
    worst_minute_weight: int = 0  # in one minute of the exchange's clock
    window: deque[int] = field(default_factory=deque)  # instants within the last 60 s
    minute: int = -1
    minute_weight: int = 0

    def add(self, at_ms: int, weight: int) -> None:
        """Count one request."""
        self.calls += 1
        self.weight += weight
        window = self.window
        window.append(at_ms)
        while window[0] <= at_ms - MINUTE_MS:
            window.popleft()
        self.worst_minute_calls = max(self.worst_minute_calls, len(window))
        minute = at_ms // MINUTE_MS
        if minute != self.minute:
            self.minute, self.minute_weight = minute, 0
        self.minute_weight += weight
        self.worst_minute_weight = max(self.worst_minute_weight, self.minute_weight)


class Ledger:
    """Records requests; answers what the exchange saw."""

    def __init__(self, keep: int = 1_000_000) -> None:
        """Keep at most `keep` rows."""
        if keep < 2:
            raise ValueError(f"keep must be at least 2, was {keep}")
        self._keep = keep
        self._names: list[str] = []  # endpoints and addresses, stored once
        self._numbers: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Start again from nothing."""
        self._first = 0  # the number of the oldest row kept
        self._at = array("q")
        self._account = array("i")
        self._endpoint = array("i")
        self._weight = array("i")
        self._status = array("h")
        self._ip = array("i")
        self.total = Tally()
        self.by_ip: dict[str, Tally] = {}
        self.by_endpoint: Counter[str] = Counter()
        self.by_account: Counter[int] = Counter()
        self.by_status: Counter[int] = Counter()
        self._refused: Counter[tuple[str, int]] = Counter()

    def receive(self, at_ms: int, account: int, endpoint: str, weight: int, ip: str) -> int:
        """A request came in; returns its number, for `settle`."""
        if self._at and at_ms < self._at[-1]:
            at_ms = self._at[-1]
        if len(self._at) >= self._keep:
            self._drop_older_half()
        self._at.append(at_ms)
        self._account.append(account)
        self._endpoint.append(self._number(endpoint))
        self._weight.append(weight)
        self._status.append(0)
        self._ip.append(self._number(ip))
        self.total.add(at_ms, weight)
        tally = self.by_ip.get(ip)
        if tally is None:
            tally = self.by_ip[ip] = Tally()
        tally.add(at_ms, weight)
        self.by_endpoint[endpoint] += 1
        self.by_account[account] += 1
        return self._first + len(self._at) - 1

    def settle(self, number: int, status: int) -> None:
        """The request was answered with `status` (0: not at all)."""
        self.by_status[status] += 1
        index = number - self._first
        if 0 <= index < len(self._at):
            self._status[index] = status
            if status in {418, 429}:
                self._refused[self._names[self._ip[index]], status] += 1

    def amend(self, number: int, before: int, status: int) -> None:
        """A request that was settled with `before` turns out to end with `status`."""
        self.by_status[before] -= 1
        self.settle(number, status)

    def rows(self, after: int = -1, limit: int = 1000, account: int | None = None) -> list[LedgerRow]:
        """Rows numbered above `after` that are still kept, oldest first."""
        found: list[LedgerRow] = []
        for index in range(max(0, after + 1 - self._first), len(self._at)):
            if len(found) >= limit:
                break
            if account is None or self._account[index] == account:
                found.append(self._row(index))
        return found

    def summary(self, ip: str | None = None) -> dict[str, Any]:
        """The exact totals, of all requests or of one address."""
        tally = self.total if ip is None else self.by_ip.get(ip, Tally())
        if ip is None:
            refused = {status: self.by_status[status] for status in (429, 418)}
        else:
            refused = {status: self._refused[ip, status] for status in (429, 418)}
        return {
            "calls": tally.calls,
            "weight": tally.weight,
            "worst_minute_calls": tally.worst_minute_calls,
            "worst_minute_weight": tally.worst_minute_weight,
            "refused_429": refused[429],
            "refused_418": refused[418],
        }

    def _row(self, index: int) -> LedgerRow:
        return LedgerRow(
            self._first + index, self._at[index], self._account[index], self._names[self._endpoint[index]],
            self._weight[index], self._status[index], self._names[self._ip[index]],
        )

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def _drop_older_half(self) -> None:
        half = len(self._at) // 2
        self._first += half
        for column in (self._at, self._account, self._endpoint, self._weight, self._status, self._ip):
            del column[:half]
