"""Venues for workers inside this process: an `ExchangeSpec` crosses as names, so a venue is lent under one."""

from collections.abc import Awaitable, Callable

from fleetsync.errors import ConfigError
from fleetsync.ports import Clock, ExchangeSpec
from fleetsync_adapters.paper.direct import PaperDirect, asyncio_sleep_ms
from fleetsync_adapters.paper.venue import Venue

_lent: dict[str, tuple[Venue, Callable[[], int], Callable[[int], Awaitable[None]]]] = {}


def lend(
    name: str, venue: Venue, *, now_ms: Callable[[], int],
    sleep_ms: Callable[[int], Awaitable[None]] = asyncio_sleep_ms,
) -> None:
    """Make a venue known to `open_direct` in this process as `options["venue"] = name`."""
    _lent[name] = (venue, now_ms, sleep_ms)


def take_back(name: str) -> None:
    """Forget a lent venue."""
    _lent.pop(name, None)


def open_direct(spec: ExchangeSpec, clock: Clock) -> PaperDirect:
    """A `PaperDirect` on a lent venue, for `ExchangeSpec.factory`.

    Raises:
        ConfigError: no venue is lent under that name in this process.
    """
    name = str(spec.options.get("venue", ""))
    if name not in _lent:
        raise ConfigError(f"no venue is lent as {name!r}", hint="lend it first, in the process that opens it")
    venue, now_ms, sleep_ms = _lent[name]
    return PaperDirect(
        venue, now_ms=now_ms, sleep_ms=sleep_ms, ip=spec.egress or "direct", call_timeout_ms=spec.call_timeout_ms
    )
