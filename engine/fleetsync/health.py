"""Backoff of accounts and circuits of routes: how long to leave alone what does not answer. Pure.

A fault of the *account* (network, malformed body) pauses that account, doubling with jitter. When calls fail across
accounts, it is the exchange or the way to it: the route's circuit opens, one call at a time probes it, and the first
answer closes it. An open circuit spends almost nothing of the budget, and says so once.
"""

from random import Random

from fleetsync.config import Settings

_CIRCUIT_FAILURES = 8  # failures in a row, over at least two accounts, that open a route's circuit
_PROBE_MAX_MS = 30_000
_PROBE_AGAIN_MS = 1_000  # after a probe that told nothing: its worker was lost, its grant ran out


def backoff_ms(failures: int, settings: Settings, rng: Random) -> int:
    """How long an account rests after its `failures`-th failure in a row: doubled each time, half of it random."""
    full_ms = min(settings.backoff_ms << min(failures - 1, 20), settings.backoff_max_ms)
    return full_ms // 2 + int(full_ms / 2 * rng.random())


class Circuit:
    """Whether a route is worth calling: closed (yes), open (no), half-open (one probe is on its way)."""

    __slots__ = ("_accounts", "failures", "open_until_ms", "opened_at_ms", "probing")

    def __init__(self) -> None:
        self.failures = 0
        self._accounts: set[str] = set()
        self.opened_at_ms = 0
        self.open_until_ms = 0
        self.probing = False

    @property
    def is_open(self) -> bool:
        """No call but a probe may go."""
        return self.opened_at_ms > 0

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`, for people."""
        if not self.is_open:
            return "closed"
        return "half-open" if self.probing else "open"

    def admits_at_ms(self, now_ms: int) -> int:
        """When the next call may go: now, or when the next probe is due (after this one's end, while one is out)."""
        if not self.is_open:
            return now_ms
        return max(self.open_until_ms, now_ms + _PROBE_AGAIN_MS if self.probing else now_ms)

    def sent(self) -> None:
        """A call goes; on an open circuit it is the probe."""
        self.probing = self.is_open

    def ended(self, now_ms: int) -> None:
        """A call is over, whatever it brought: if it was the probe, another may go soon."""
        if self.probing:
            self.probing = False
            self.open_until_ms = max(self.open_until_ms, now_ms + _PROBE_AGAIN_MS)

    def succeeded(self) -> bool:
        """An answer came. True when that closed the circuit."""
        closed = self.is_open
        self.failures = 0
        self._accounts.clear()
        self.opened_at_ms = self.open_until_ms = 0
        self.probing = False
        return closed

    def failed(self, account: str, now_ms: int, settings: Settings, rng: Random) -> bool:
        """A call brought no answer. True when that opened the circuit."""
        self.failures += 1
        self._accounts.add(account)
        self.probing = False
        if self.is_open:
            probes = self.failures - _CIRCUIT_FAILURES
            wait_ms = min(settings.backoff_ms << min(max(probes, 0), 10), _PROBE_MAX_MS)
            self.open_until_ms = now_ms + wait_ms // 2 + int(wait_ms / 2 * rng.random())
            return False
        if self.failures >= _CIRCUIT_FAILURES and len(self._accounts) > 1:
            self.opened_at_ms = now_ms
            self.open_until_ms = now_ms + settings.backoff_ms
            return True
        return False
