"""The network between workers and the exchange: what a request meets on its way, and on which clock it is executed."""

from dataclasses import replace
from typing import TYPE_CHECKING

from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Surface
from fleetsync_adapters.paper.direct import PaperDirect

if TYPE_CHECKING:
    from fleetsync_adapters.simulation.world import World

Told = tuple[int, Answer, tuple[Request, ...]]


class Network:
    """Carries requests to the venue and translates instants back to the engine's clock."""

    def __init__(self, world: "World") -> None:
        """A network without faults."""
        self._world = world

    def ask(self, exchange: PaperDirect, egress: str, account: str, call: Call, send_at_ms: int, *, full: bool) -> Told:
        """One call, executed now: (how long the exchange takes, the answer, the requests it was made of)."""
        world = self._world
        at_ms = world.exchange_ms()
        if world.chaos is not None:
            world.chaos.before(egress, account, call)
        told = exchange.answer(account, call, at_ms, full=full)
        return self._seen(told, egress, account, call, at_ms, send_at_ms)

    def load(self, exchange: PaperDirect, egress: str, send_at_ms: int) -> Told:
        """The markets, likewise."""
        world, call = self._world, Call(Surface.MARKETS)
        at_ms = world.exchange_ms()
        if world.chaos is not None:
            world.chaos.before(egress, "", call)
        return self._seen(exchange.load(at_ms), egress, "", call, at_ms, send_at_ms)

    def _seen(self, told: Told, egress: str, account: str, call: Call, at_ms: int, send_at_ms: int) -> Told:
        latency_ms, answer, requests = told
        if at_ms != send_at_ms:
            answer = Answer(call, send_at_ms, answer.complete, answer.rows, answer.fault, answer.detail,
                            answer.retry_after_ms)
            requests = tuple([Request(one.endpoint, one.weight, send_at_ms, one.status, one.used_weight,
                                      one.retry_after_ms) for one in requests])
        for hook in self._world.hooks.requested:
            for request in requests:
                hook(self._world.now_ms, egress, account, call, request)
        if self._world.chaos is not None:
            requests = tuple(replace(one, used_weight=-1) if not one.status else one for one in requests)
        return latency_ms, answer, requests
