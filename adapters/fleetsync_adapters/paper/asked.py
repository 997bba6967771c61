"""One signed or public REST request, parsed: what an endpoint gets to work with, and readers for its parameters."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import unquote_plus

from fleetsync_adapters.paper.books import NOTHING, BookAccount
from fleetsync_adapters.paper.markets import Market
from fleetsync_adapters.paper.refusals import missing, unknown_symbol, wrong
from fleetsync_adapters.paper.venue import Entry, Venue


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its endpoint sees it."""

    venue: Venue
    entry: Entry
    params: dict[str, str]
    at_ms: int
    shown_ms: int  # the exchange's clock as it shows it; differs from `at_ms` when it is skewed
    holder: BookAccount | None = None

    @property
    def account(self) -> BookAccount:
        """Whose request it is; only for signed endpoints."""
        assert self.holder is not None, "only signed endpoints have an account"
        return self.holder

    def text(self, *names: str) -> str:
        """The first of these parameters that was sent, or ""."""
        for name in names:
            value = self.params.get(name)
            if value:
                return value
        return ""

    def whole(self, name: str, default: int = 0) -> int:
        """A parameter that counts."""
        value = self.params.get(name)
        if not value:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise wrong(name)
        return int(value)

    def number(self, name: str) -> Decimal:
        """A decimal parameter; 0 when absent."""
        value = self.params.get(name)
        if not value:
            return NOTHING
        try:
            number = Decimal(value)
        except InvalidOperation as error:
            raise wrong(name) from error
        if not number.is_finite() or not -20 <= number.adjusted() <= 20:
            raise wrong(name)
        return number

    def flag(self, name: str) -> bool:
        """A yes-or-no parameter."""
        return self.params.get(name, "").lower() == "true"

    def market(self) -> Market:
        """The market that was asked for.

        Raises:
            Refusal: none was, or it is not listed.
        """
        symbol = self.params.get("symbol")
        if not symbol:
            raise missing("symbol")
        market = self.venue.markets.by_id.get(symbol)
        if market is None:
            raise unknown_symbol()
        return market

    def market_if_asked(self) -> Market | None:
        """The market that was asked for, if one was."""
        return self.market() if self.params.get("symbol") else None

    def cutoff_ms(self, surface: str) -> int | None:
        """As of when this surface is answered."""
        symbol = self.params.get("symbol", "")
        return self.venue.cutoff_ms(self.entry, self.account, surface, symbol, self.at_ms)


def parse(encoded: str) -> dict[str, str]:
    """Parameters of a query or form body."""
    params = {}
    for pair in encoded.split("&"):
        name, _, value = pair.partition("=")
        params[name] = unquote_plus(value) if "%" in value or "+" in value else value
    return params
