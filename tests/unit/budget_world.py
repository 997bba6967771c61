"""An exchange that counts for itself, and short ways to ask a ledger."""

from fleetsync.config import Settings
from fleetsync.ledger import Ledger
from fleetsync.tariff import Quota, Scope

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000
SETTINGS = Settings(grant_valid_ms=300, network_jitter_ms=200)
SLACK_MS = 500


def quota_of(limit: int, window_ms: int = MINUTE_MS, *, aligned: bool = False) -> Quota:
    return Quota("weight", Scope.EGRESS, limit, window_ms, aligned)


def ledger_of(limit: int, window_ms: int = MINUTE_MS, *, biggest: int = 5, aligned: bool = False) -> Ledger:
    return Ledger("weight", quota_of(limit, window_ms, aligned=aligned), biggest=biggest, settings=SETTINGS,
                  now_ms=START_MS)


class CountingExchange:
    """Counts what arrives."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, int]] = []

    def take(self, at_ms: int, units: int) -> None:
        self.arrived.append((at_ms, units))

    def worst(self, window_ms: int, *, since_ms: int = 0) -> int:
        """Units in the fullest window that begins at an arrival."""
        arrived = sorted(row for row in self.arrived if row[0] >= since_ms)
        worst = total = last = 0
        for start_ms, units in arrived:
            while last < len(arrived) and arrived[last][0] < start_ms + window_ms:
                total += arrived[last][1]
                last += 1
            worst = max(worst, total)
            total -= units
        return worst

    def aligned(self, window_ms: int) -> dict[int, int]:
        """Units by aligned window."""
        totals: dict[int, int] = {}
        for at_ms, units in self.arrived:
            totals[at_ms // window_ms] = totals.get(at_ms // window_ms, 0) + units
        return totals


def ask(ledger: Ledger, units: int, now_ms: int, *, urgent: bool = False) -> int:
    """0 when granted, otherwise when to ask again."""
    opens_at_ms = ledger.opens_at_ms(units, now_ms, urgent=urgent)
    if opens_at_ms > now_ms:
        return opens_at_ms
    ledger.charge(units, now_ms)
    return 0
