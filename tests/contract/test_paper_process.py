"""The paper exchange as a server and as a process of its own."""

import asyncio
import socket

import pytest
from tests.contract.paper_lab import BTC, ETH, Lab, held

from fleetsync.errors import AddressInUse
from fleetsync_adapters.paper.process import PaperFailed, PaperProcess
from fleetsync_adapters.paper.server import serving


def test_a_taken_port_is_said_so() -> None:
    async def check(lab: Lab) -> None:
        with pytest.raises(AddressInUse, match=f"port {lab.running.port}"):
            async with serving(lab.venue, port=lab.running.port):
                pytest.fail("two servers on one port")

    held(check)


@pytest.mark.process
def test_as_a_process_it_starts_is_administered_and_ends_cleanly() -> None:
    async def check() -> None:
        paper = await PaperProcess(seed=9, accounts=4, markets=30).start()
        try:
            keys = paper.keys()[2]
            opened = await paper.admin.open_position(keys.id, BTC, "buy", size="0.01")
            assert opened["status"] == "closed"
            books = await paper.admin.books(keys.id)
            assert [row["size"] for row in books[keys.id]["positions"]] == ["0.01"]
            order = await paper.admin.place_order(keys.id, ETH, "buy", "limit", "0.1", price="1000")
            await paper.admin.cancel_order(keys.id, order["order"]["id"])
            await paper.admin.liquidate(keys.id, BTC)
            assert await paper.admin.close_position(keys.id, BTC) is None
            added = await paper.admin.open_accounts(1)
            assert added[0]["id"] == "paper-00004"
            await paper.admin.misbehave("html", endpoint="time")
            await paper.admin.misbehave_by_seed(4, {"busy": 0.0}, latency_ms=[1, 2])
            await paper.admin.behave()
            await paper.admin.set_limits(weight_per_minute=100, forgive=True)
            await paper.admin.set_clock(skew_ms=5, advance_ms=10)
            assert (await paper.admin.summary())["calls"] == 0
            assert (await paper.admin.ledger())["rows"] == []
            with pytest.raises(PaperFailed, match="unknown account"):
                await paper.admin.open_position("nobody", BTC, "buy", size="1")
        finally:
            assert await paper.stop() == 0

    asyncio.run(check())


@pytest.mark.process
def test_as_a_process_it_says_why_it_could_not_start() -> None:
    async def check() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PaperFailed, match="is taken"):
            await PaperProcess(accounts=1, markets=5, port=taken.getsockname()[1]).start()

    asyncio.run(check())
