"""How an exchange with a wire is asked: its lists page by page, each page one request that was granted."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from fleetsync.messages import Call, Rows
from fleetsync.model import Fill, Order, Position, Surface
from fleetsync_adapters import ccxt_rows as rows
from fleetsync_adapters.ccxt_errors import order_not_found
from fleetsync_adapters.ccxt_reading import (
    BadBody,
    Markets,
    Reading,
    Unsupported,
    list_of,
    mapping_of,
    of_its_symbol,
)
from fleetsync_adapters.ccxt_wires import Listing, Lookup, Names, Wire

Row = Mapping[str, Any]


class PagedReader:
    """Asks one exchange by its wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __call__(self, client: Any, call: Call, markets: Markets, now_ms: Callable[[], int]) -> Reading:
        """Ask one question.

        Raises:
            BadBody: the answer is not what was asked for.
            Unsupported: the wire has no endpoint for it.
            Exception: whatever ccxt raises.
        """
        market_id = markets.id_of(call.symbol) if call.symbol else ""
        if call.surface is Surface.ORDER:
            return await self._look_up(client, call, market_id, markets)
        listing = self._wire.lists.get(call.surface)
        if listing is None:
            raise Unsupported(f"this exchange has no list of {call.surface.value}")
        raw, complete = await _read_list(client, listing, call, market_id, now_ms)
        found = self._parsed(client, listing, call, raw, markets)
        if call.surface is Surface.FILLS:
            return Reading(None, lambda: found, complete)
        return Reading(sorted(orjson.dumps([*row]).decode() for row in found), lambda: found, complete)

    async def _look_up(self, client: Any, call: Call, market_id: str, markets: Markets) -> Reading:
        lookup = self._wire.conditional_order if call.conditional else self._wire.order
        if lookup is None:
            raise Unsupported("this exchange has no look-up of conditional orders")
        param, value = lookup.id_param, call.order_id
        if not value:
            ours = call.client_id.removeprefix(lookup.client_prefix)
            param, value = lookup.client_param, f"{lookup.client_prefix}{ours}"
        request: dict[str, Any] = {**lookup.params, param: value}
        if lookup.symbol:
            request[lookup.symbol] = market_id
        row = _one(_walk(await getattr(client, lookup.method)(request), lookup.row_at), lookup)
        order = _order(client, row, lookup.names, _market(client, row, lookup.names, markets), call)
        if value not in {order.id, order.client_id}:
            raise BadBody("another order than was asked for")
        return of_its_symbol(order, call)

    def _parsed(self, client: Any, listing: Listing, call: Call, raw: list[Row], markets: Markets) -> Rows:
        if listing.only:
            wanted, values = listing.only
            raw = [row for row in raw if row[wanted] in values]
        pairs = [(row, _market(client, row, listing.names, markets)) for row in raw]
        conditional = call._replace(conditional=call.surface is Surface.CONDITIONAL)
        if call.surface is Surface.FILLS:
            fills: dict[tuple[str, str], Fill] = {}  # where two orders of ours met, both executions bear one id
            for row, market in pairs:
                fill = rows.unified_fill(client.parse_trade(row, market))
                if listing.made_field and row.get(listing.made_field):
                    # By when it was written down, the fill that moved a position may seem to be a later move of it.
                    # Should it have been made after that, it counts from when it was known: the earlier errs safely.
                    fill = fill._replace(at_ms=min(fill.at_ms, rows.instant(row[listing.made_field])))
                fills[fill.id, fill.order_id] = fill
            return tuple(sorted(fills.values(), key=lambda fill: (fill.at_ms, fill.id, fill.order_id)))
        if call.surface is Surface.POSITIONS:
            found = rows.unified_positions(self._position(client, row, market) for row, market in pairs)
            return tuple(position for position in found if call.symbol in {"", position.symbol})
        orders = (_order(client, row, listing.names, market, conditional) for row, market in pairs)
        return tuple({order.id: order for order in orders}.values())

    def _position(self, client: Any, row: Row, market: Any) -> tuple[Row, Position]:
        told = client.parse_position(row, market)
        if self._wire.moved_field:
            moved_ms = int(row.get(self._wire.moved_field) or 0) * self._wire.moved_unit_ms
            told = told | {"lastUpdateTimestamp": rows.last_of(moved_ms, self._wire.moved_unit_ms)}
        position = rows.unified_position(told)
        name, begins = self._wire.hedge_field
        hedged = position.hedged or bool(name and str(row.get(name, "")).startswith(begins))
        return told, position._replace(hedged=hedged)


async def _read_list(
    client: Any, listing: Listing, call: Call, market_id: str, now_ms: Callable[[], int]
) -> tuple[list[Row], bool]:
    """Every row, as far as the granted pages and the exchange's memory reach; and whether that was all."""
    raw: list[Row] = []
    left, reach_ms = call.pages, listing.span.reach_ms if listing.span else 0
    oldest_ms = now_ms() - reach_ms if reach_ms and call.since_ms else 0
    forgotten = call.since_ms < oldest_ms
    call = call._replace(since_ms=max(call.since_ms, oldest_ms))
    for variant in _variants(listing, call, market_id, now_ms()):
        request, read = dict(variant), 0
        while True:
            if not left:
                return raw, False
            left -= 1
            body = await getattr(client, listing.method)(request)
            page = _rows(body, listing)
            raw += page
            read += len(page)
            turned = _turned(request, listing, body, page, read)
            if turned is None:
                break
            request = turned
    return raw, not forgotten


def _variants(listing: Listing, call: Call, market_id: str, now_ms: int) -> Iterator[dict[str, Any]]:
    """The first request of each part that makes the list: kinds of orders, or windows of time."""
    base: dict[str, Any] = dict(listing.params)
    if market_id and listing.symbol:
        base[listing.symbol] = market_id
    elif not market_id:
        base |= listing.params_for_all
    if listing.page:
        base[listing.page_param] = listing.page
    span = listing.span
    if span is None or not call.since_ms:
        yield from ({**base, **variant} for variant in listing.variants)
        return
    since_ms = call.since_ms
    while True:
        unit = 1000 if span.in_seconds else 1
        last = not span.window_ms or since_ms + span.window_ms > now_ms
        request = {**base, span.since: since_ms // unit}
        if not last:
            request[span.until] = since_ms + span.window_ms - 1
        yield request
        if last:
            return
        since_ms += span.window_ms


def _turned(request: dict[str, Any], listing: Listing, body: Any, page: list[Row], read: int) -> dict[str, Any] | None:
    """The request for the next page; None where this one was the last.

    A short page is the last one, also where it brings a cursor: Bybit and Bitget give one with each page that has rows,
    the last included, since it names those rows. Who asked on until a page is empty would pay for each list twice.
    """
    turn = listing.turn
    if turn is None or len(page) < listing.page:
        return None
    if turn.by_count:
        return {**request, turn.param: read}
    if turn.lowest:
        return {**request, turn.param: str(min(int(row[turn.lowest]) for row in page))}
    token = _walk(body, turn.token_at)
    return {**request, turn.param: token} if token else None


def _rows(body: Any, listing: Listing) -> list[Row]:
    found = _walk(body, listing.rows_at)
    return list_of([] if found is None and listing.null_is_empty else found)


def _walk(body: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        body = mapping_of(body)[key]
    return body


def _one(found: Any, lookup: Lookup) -> Row:
    if isinstance(found, list):
        if not found and lookup.empty_is_not_found:
            raise order_not_found("the list is empty")
        if len(found) != 1:
            raise BadBody(f"one order was due, {len(found)} came")
        found = found[0]
    return mapping_of(found)


def _market(client: Any, row: Row, names: Names, markets: Markets) -> Any:
    """Ccxt's market of a raw row: told, because an id alone can name a spot market too. None for a newer one."""
    return client.markets.get(markets.symbol_of(_field(row, names.market)))


def _order(client: Any, row: Row, names: Names, market: Any, call: Call) -> Order:
    order = rows.unified_order(client.parse_order(row, market), conditional=call.conditional)
    order = rows.with_status(order, map(row.get, names.status), names.meanings)
    return order._replace(id=str(_field(row, names.id)), client_id=str(_field(row, names.client) or ""))


def _field(row: Row, name: str) -> Any:
    """A field of a raw row.

    Raises:
        KeyError: the row does not have it.
    """
    found: Any = row
    for key in name.split("."):
        found = found[key]
    return found
