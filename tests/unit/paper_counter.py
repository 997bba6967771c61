"""A REST desk, a signing client for its accounts and its operator, in a clock driven by hand."""

import asyncio
import hmac
from typing import Any
from urllib.parse import urlencode

import orjson

from fleetsync_adapters.paper.admin import Admin, Clockwork
from fleetsync_adapters.paper.desk import Arrival, Desk, Reply
from fleetsync_adapters.paper.faults import Fault, FaultOrder, Misdeed
from fleetsync_adapters.paper.limits import LimitRules
from fleetsync_adapters.paper.venue import Venue, VenueRules

START_MS = 1_790_000_040_000 - 1_790_000_040_000 % 60_000
RISK = "/fapi/v3/positionRisk"


class Counter:
    """A desk and a signing client for its accounts."""

    def __init__(self, limits: LimitRules | None = None) -> None:
        self.venue = Venue(VenueRules(seed=3, accounts=2, markets=20, limits=limits))
        self.desk = Desk(self.venue)
        self.at_ms = START_MS
        self.clockwork = Clockwork(lambda: self.at_ms)
        self.admin = Admin(self.desk, self.clockwork)

    def send(self, arrival: Arrival) -> Reply:
        return self.desk.answer(self.desk.receive(arrival, self.at_ms), self.at_ms)

    def ask(self, method: str, path: str, *, secret: str = "", number: int = 0, ip: str = "", **params: Any) -> Reply:
        keys = self.venue.books.accounts[number].keys
        query = urlencode({"timestamp": self.at_ms, "recvWindow": 5000, **params})
        signature = hmac.digest((secret or keys.secret).encode(), query.encode(), "sha256").hex()
        signed = f"{query}&signature={signature}"
        in_body = method == "POST"
        return self.send(
            Arrival(method, path, "" if in_body else signed, signed if in_body else "", keys.api_key, ip or "1.1.1.1")
        )

    def misbehave(self, kind: Misdeed, **figures: int) -> None:
        self.venue.faults.order([FaultOrder(Fault(kind, **figures))])

    def operate(self, method: str, path: str, body: Any = None, **params: str) -> tuple[int, Any]:
        raw = b"" if body is None else orjson.dumps(body)
        status, answer = asyncio.run(self.admin.handle(method, path, params, raw))
        return status, orjson.loads(answer)
