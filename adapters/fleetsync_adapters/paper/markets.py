"""The seeded list of markets: USDT perpetuals with tick and lot sizes, and a price path each."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from fleetsync_adapters.paper.prices import PricePath
from fleetsync_adapters.paper.seeded import between, draw

# Base asset and a plausible price; the first markets carry names that people know, the rest invented ones.
_PRICES = (
    "BTC:64000 ETH:3200 SOL:150 BNB:580 XRP:0.55 DOGE:0.12 ADA:0.45 TRX:0.12 AVAX:28 LINK:14 DOT:6.2 "
    "BCH:430 LTC:78 NEAR:5.1 UNI:8.3 ATOM:7.1 ETC:23 FIL:4.6 APT:8 ARB:0.78 OP:1.9 INJ:24 SUI:0.95 "
    "AAVE:105 XLM:0.1 ALGO:0.16 VET:0.027 GRT:0.21 SAND:0.35 MANA:0.36 AXS:6.2 THETA:1.6 ICP:9.4 RUNE:4.4 "
    "SNX:2.1 CRV:0.31 LDO:1.8 ENS:24 COMP:51 DASH:26 ZEC:22 XTZ:0.75 EOS:0.56 KAVA:0.4 CHZ:0.07 ENJ:0.17 "
    "ZIL:0.016 IOTA:0.17"
)
_KNOWN = tuple(pair.split(":") for pair in _PRICES.split())
_START_TICKS_MIN = 100_000  # a tick is at most a hundred-thousandth of the price


@dataclass(frozen=True, slots=True)
class Market:
    """One USDT perpetual."""

    number: int
    id: str  # the exchange's: "BTCUSDT"
    symbol: str  # ccxt's: "BTC/USDT:USDT"
    base: str
    price_digits: int
    size_digits: int
    tick: Decimal
    lot: Decimal
    min_notional: Decimal
    path: PricePath

    def price(self, at_ms: int) -> Decimal:
        """The price at an instant."""
        return Decimal(self.path.ticks(at_ms)).scaleb(-self.price_digits)

    def ticks(self, price: Decimal) -> int:
        """A price in ticks; the price must lie on a tick."""
        return int(price.scaleb(self.price_digits))

    def smallest_size(self, at_ms: int, notional: Decimal) -> Decimal:
        """The smallest size on a lot that is worth at least `notional` now."""
        lots = (notional / (self.price(at_ms) * self.lot)).to_integral_value(ROUND_CEILING)
        return max(lots, Decimal(1)) * self.lot


class Markets:
    """All markets, by the exchange's id and by ccxt's symbol."""

    def __init__(self, seed: int, count: int = 600) -> None:
        """Draw `count` markets."""
        self.seed = seed
        names = _names(seed, count)
        self.all: tuple[Market, ...] = tuple(_market(seed, number, name) for number, name in enumerate(names))
        self.by_id = {market.id: market for market in self.all}
        self.by_symbol = {market.symbol: market for market in self.all}


def _names(seed: int, count: int) -> list[str]:
    names = {base: None for base, _ in _KNOWN[:count]}
    attempt = 0
    while len(names) < count:
        attempt += 1
        names.setdefault(_invented(draw(seed, 7, attempt)))
    return list(names)


def _invented(bits: int) -> str:
    """A pronounceable name of four or five letters."""
    letters = []
    for place in range(4 + bits % 2):
        bits //= 32
        letters.append("AEIOU"[bits % 5] if place % 2 else "BCDFGHJKLMNPRSTVWXYZ"[bits % 20])
    return "".join(letters)


def _market(seed: int, number: int, base: str) -> Market:
    known = dict(_KNOWN).get(base)
    mantissa = between(100, 999, seed, 1, number)
    start = Decimal(known) if known else Decimal(mantissa).scaleb(between(-5, -1, seed, 2, number))
    price_digits = 0
    while start.scaleb(price_digits) < _START_TICKS_MIN:
        price_digits += 1
    size_digits = 0  # one lot is worth between 1 and 10 USDT, and never more than one unit of the base asset
    while start.scaleb(-size_digits) >= 10:
        size_digits += 1
    start_ticks = int(start.scaleb(price_digits))
    return Market(
        number=number,
        id=f"{base}USDT",
        symbol=f"{base}/USDT:USDT",
        base=base,
        price_digits=price_digits,
        size_digits=size_digits,
        tick=Decimal(1).scaleb(-price_digits),
        lot=Decimal(1).scaleb(-size_digits),
        min_notional=Decimal(5),
        path=PricePath(draw(seed, 3, number), start_ticks, between(600, 1600, seed, 4, number)),
    )
