"""The exchange's limits: weight an IP in aligned minutes, order counts an account, 429, and 418 for who goes on.

Pure: (who, how much, when) -> verdict. Every number is a parameter.
"""

from dataclasses import dataclass

from fleetsync.units import DAY_MS, MINUTE_MS, SECOND_MS

# Weight of each endpoint: with a symbol, without one. What is not listed costs 1.
WEIGHTS: dict[str, tuple[int, int]] = {
    "POST /fapi/v1/order": (0, 0),
    "POST /fapi/v1/algoOrder": (0, 0),
    "GET /fapi/v1/openOrders": (1, 40),
    "GET /fapi/v1/openAlgoOrders": (1, 40),
    "GET /fapi/v1/allOrders": (5, 5),
    "GET /fapi/v1/allAlgoOrders": (5, 5),
    "GET /fapi/v1/userTrades": (5, 5),
    "GET /fapi/v2/positionRisk": (5, 5),
    "GET /fapi/v3/positionRisk": (5, 5),
    "GET /fapi/v2/account": (5, 5),
    "GET /fapi/v3/account": (5, 5),
    "GET /fapi/v2/balance": (5, 5),
    "GET /fapi/v3/balance": (5, 5),
    "GET /fapi/v1/positionSide/dual": (30, 30),
    "GET /fapi/v1/ticker/price": (1, 2),
    "GET /fapi/v1/premiumIndex": (1, 10),
    # Another host with limits of its own on the real exchange; it is not part of this weight.
    "GET /sapi/v1/capital/config/getall": (0, 0),
    "GET /sapi/v1/margin/allPairs": (0, 0),
}
PLACES_ORDER = frozenset({"POST /fapi/v1/order", "POST /fapi/v1/algoOrder"})


def weight_of(endpoint: str, *, one_symbol: bool) -> int:
    """What one request costs."""
    with_symbol, without = WEIGHTS.get(endpoint, (1, 1))
    return with_symbol if one_symbol else without


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The numbers."""

    weight_per_minute: int = 2400
    orders_per_10s: int = 300
    orders_per_minute: int = 1200
    refusals_before_ban: int = 10  # so many 429 within one minute, and the address is locked out
    ban_ms: int = 2 * MINUTE_MS  # the first ban; each further one lasts twice as long ...
    ban_max_ms: int = 3 * DAY_MS  # ... up to this
    ban_forgotten_ms: int = DAY_MS  # so long after a ban the next one counts as the first
    unlimited: bool = False

    def __post_init__(self) -> None:
        for name in ("weight_per_minute", "orders_per_10s", "orders_per_minute", "refusals_before_ban", "ban_ms",
                     "ban_max_ms", "ban_forgotten_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be above 0, was {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limits say to one request."""

    status: int = 200  # 429 or 418 when refused
    used: int = 0  # weight of this minute, this request included
    retry_after_ms: int = 0
    code: int = 0  # -1003: weight, -1015: orders


@dataclass(slots=True)
class _Address:
    minute: int = -1
    used: int = 0
    refusals: int = 0
    banned_until_ms: int = 0
    bans: int = 0


@dataclass(slots=True)
class _Counts:
    ten: int = -1
    minute: int = -1
    in_ten: int = 0
    in_minute: int = 0


class Limits:
    """Counts, refuses and bans."""

    def __init__(self, rules: LimitRules | None = None) -> None:
        """Start with nothing used."""
        self.rules = rules or LimitRules()
        self._addresses: dict[str, _Address] = {}
        self._orders: dict[int, _Counts] = {}

    def charge(self, ip: str, weight: int, at_ms: int) -> Verdict:
        """One request of `weight` from an address. What is refused still counts."""
        address = self._addresses.get(ip)
        if address is None:
            address = self._addresses[ip] = _Address()
        minute = at_ms // MINUTE_MS
        if minute != address.minute:
            address.minute, address.used, address.refusals = minute, 0, 0
        address.used += weight
        if self.rules.unlimited:
            return Verdict(used=address.used)
        if at_ms < address.banned_until_ms:
            return self._refuse(address, at_ms, banned=True)
        if address.used > self.rules.weight_per_minute:
            return self._refuse(address, at_ms, banned=False)
        return Verdict(used=address.used)

    def ban(self, ip: str, at_ms: int, span_ms: int | None = None) -> int:
        """Lock an address out; returns until when."""
        address = self._addresses.setdefault(ip, _Address(minute=at_ms // MINUTE_MS))
        self._lock_out(address, at_ms)
        if span_ms is not None:
            address.banned_until_ms = at_ms + span_ms
        return address.banned_until_ms

    def count_order(self, account: int, at_ms: int) -> tuple[Verdict, int, int]:
        """One new order of an account: verdict, and its counts in these 10 s and this minute."""
        counts = self._orders.get(account)
        if counts is None:
            counts = self._orders[account] = _Counts()
        ten, minute = at_ms // (10 * SECOND_MS), at_ms // MINUTE_MS
        if ten != counts.ten:
            counts.ten, counts.in_ten = ten, 0
        if minute != counts.minute:
            counts.minute, counts.in_minute = minute, 0
        counts.in_ten += 1
        counts.in_minute += 1
        verdict = Verdict()
        if not self.rules.unlimited:
            if counts.in_minute > self.rules.orders_per_minute:
                verdict = Verdict(429, 0, (minute + 1) * MINUTE_MS - at_ms, -1015)
            elif counts.in_ten > self.rules.orders_per_10s:
                verdict = Verdict(429, 0, (ten + 1) * 10 * SECOND_MS - at_ms, -1015)
        return verdict, counts.in_ten, counts.in_minute

    def used(self, ip: str, at_ms: int) -> int:
        """The weight an address has used in the current minute."""
        address = self._addresses.get(ip)
        return address.used if address is not None and address.minute == at_ms // MINUTE_MS else 0

    def is_banned(self, ip: str, at_ms: int) -> bool:
        """Whether an address is locked out."""
        address = self._addresses.get(ip)
        return address is not None and at_ms < address.banned_until_ms

    def forgive(self) -> None:
        """Forget everything used and every ban (an operator's wish)."""
        self._addresses.clear()
        self._orders.clear()

    def _refuse(self, address: _Address, at_ms: int, *, banned: bool) -> Verdict:
        address.refusals += 1
        if address.refusals > self.rules.refusals_before_ban:
            self._lock_out(address, at_ms)
            banned = True
        if banned:
            return Verdict(418, address.used, address.banned_until_ms - at_ms, -1003)
        return Verdict(429, address.used, (address.minute + 1) * MINUTE_MS - at_ms, -1003)

    def _lock_out(self, address: _Address, at_ms: int) -> None:
        if at_ms - address.banned_until_ms > self.rules.ban_forgotten_ms:
            address.bans = 0
        span_ms = min(self.rules.ban_ms << min(address.bans, 32), self.rules.ban_max_ms)
        address.bans += 1
        address.refusals = 0
        address.banned_until_ms = at_ms + span_ms
