"""Books to try things on."""

from decimal import Decimal

from fleetsync_adapters.paper.books import BookAccount, BookRules
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.venue import Venue, VenueRules

START_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def opened(rules: BookRules | None = None, seed: int = 5) -> tuple[Venue, BookAccount, Market]:
    venue = Venue(VenueRules(seed=seed, accounts=1, markets=4, books=rules))
    return venue, venue.books.accounts[0], venue.markets.all[0]


def off(market: Market, millionths: int, at_ms: int = START_MS) -> Decimal:
    """A price on a tick, so far from the present one."""
    return (market.price(at_ms) * (1_000_000 + millionths) / 1_000_000).quantize(market.tick)
