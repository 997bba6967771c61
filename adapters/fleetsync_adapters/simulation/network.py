"""The network between workers and the exchange: what a request meets on its way, and on which clock it is executed."""

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Fault, Surface
from fleetsync_adapters.paper.direct import PaperDirect
from fleetsync_adapters.simulation.chaos import is_signed

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

Told = tuple[int, Answer, tuple[Request, ...]]
_AHEAD_MS, _BEHIND_MS = -1_000, 10_000  # the receive window that the real client asks for


class Network:
    """Carries requests to the venue and translates instants back to the engine's clock."""

    def __init__(self, world: "World") -> None:
        """A network without faults."""
        self._world = world
        self._offset_ms: WeakKeyDictionary[PaperDirect, int] = WeakKeyDictionary()  # as each client measured it

    def ask(self, exchange: PaperDirect, sync_id: int, route: str, account: str, call: Call, send_at_ms: int, *,
            full: bool) -> Told:
        """One call, executed now: (how long the exchange takes, the answer, the requests it was made of)."""
        world = self._world
        at_ms = world.exchange_ms()
        if world.chaos is not None:
            if world.now_ms < world.chaos.dark_until_ms:
                world.effects["dns_outage"] += 1
                return 5, Answer(call, send_at_ms, fault=Fault.NETWORK, detail="name not resolved"), ()
            off_ms = at_ms - world.now_ms - self._offset_ms.get(exchange, 0)
            if is_signed(call) and not _AHEAD_MS < off_ms <= _BEHIND_MS:
                world.chaos.refuse_clock(off_ms)
            world.chaos.before(account, call)
        told = exchange.answer(account, call, at_ms, full=full)
        if call.surface is Surface.TIME:
            self._offset_ms[exchange] = at_ms - world.now_ms
        return self._seen(told, sync_id, route, account, at_ms, send_at_ms)

    def load(self, exchange: PaperDirect, sync_id: int, route: str, send_at_ms: int) -> Told:
        """The markets, likewise; the exchange's clock comes with them."""
        world, call = self._world, Call(Surface.MARKETS)
        at_ms = world.exchange_ms()
        if world.chaos is not None:
            if world.now_ms < world.chaos.dark_until_ms:
                world.effects["dns_outage"] += 1
                return 5, Answer(call, send_at_ms, fault=Fault.NETWORK, detail="name not resolved"), ()
            world.chaos.before("", call)
        self._offset_ms[exchange] = at_ms - world.now_ms
        return self._seen(exchange.load(at_ms), sync_id, route, "", at_ms, send_at_ms)

    def _seen(self, told: Told, sync_id: int, route: str, account: str, at_ms: int, send_at_ms: int) -> Told:
        """What the client is told, on the engine's clock: as true no earlier than the sending."""
        latency_ms, answer, requests = told
        for request in requests:
            if request.status in {429, 418}:
                self._world.effects["throttle" if request.status == 429 else "ban"] += 1
        if at_ms != send_at_ms:
            answer = Answer(answer.call, send_at_ms, answer.complete, answer.rows, answer.fault, answer.detail,
                            answer.retry_after_ms)
            requests = tuple([Request(one.endpoint, one.weight, send_at_ms, one.status, one.used_weight,
                                      one.retry_after_ms) for one in requests])
        for hook in self._world.hooks.requested:
            for request in requests:
                hook(self._world.now_ms, sync_id, route, account, answer.call, request)
        if self._world.chaos is not None:  # who gets no answer gets no header either
            requests = tuple([one if one.status else one._replace(used_weight=-1) for one in requests])
        return latency_ms, answer, requests
