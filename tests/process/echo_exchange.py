"""A small exchange for crews under test: it answers at once, or misbehaves as the order id of a call tells it to."""

import asyncio
import os
import time
from pathlib import Path

from fleetsync.messages import Answer, Call, Request
from fleetsync.model import Account, Order, Position, Surface
from fleetsync.ports import Clock, ExchangeSpec

FACTORY = "tests.process.echo_exchange:open_exchange"
SYMBOLS = {"BTC/USDT:USDT", "ETH/USDT:USDT"}
Brought = tuple[Answer, tuple[Request, ...]]


class EchoExchange:
    """Echoes each call: positions hold the account's id, so that a test sees who was asked.

    `order_id` is an instruction: "wait:MS", "never", "raise", "freeze" (blocks the loop), "huge:BYTES", "secret".
    `options["sent_log"]` names a file that gets a line for each call that was sent.
    """

    def __init__(self, spec: ExchangeSpec, clock: Clock) -> None:
        self._now_ms = clock.now_ms
        self._log = spec.options.get("sent_log")
        self._open_ms = spec.options.get("open_ms", 0)
        self._accounts: dict[str, Account] = {}

    async def open(self) -> Brought:
        await asyncio.sleep(self._open_ms / 1000)
        at_ms = self._now_ms()
        return Answer(Call(Surface.MARKETS), at_ms, complete=True), (Request("GET /markets", 1, at_ms, 200),)

    def add_account(self, account: Account) -> None:
        self._accounts[account.id] = account

    def remove_account(self, account_id: str) -> None:
        self._accounts.pop(account_id, None)

    def lists(self, symbol: str) -> bool:
        return symbol in SYMBOLS

    async def ask(self, account_id: str, call: Call, *, full: bool) -> Brought:
        if self._log:
            with Path(self._log).open("a") as log:  # noqa: ASYNC230 - a line for the test, not production I/O
                log.write(f"{account_id} {call.surface} {call.order_id}\n")
        word, _, number = call.order_id.partition(":")
        size = "1"
        match word:
            case "wait":
                await asyncio.sleep(int(number) / 1000)
            case "never":
                await asyncio.Event().wait()
            case "freeze":
                time.sleep(int(number) / 1000)  # noqa: ASYNC251 - that is the fault
            case "raise":
                raise RuntimeError(f"key {self._accounts[account_id].api_key.reveal} is bad")
            case "exit":
                os._exit(int(number))
            case "huge":
                size = "9" * int(number)
        rows: tuple[Position, ...] | tuple[Order, ...] = (Position(account_id, "long", size, "1", 0),)
        return (Answer(call, self._now_ms(), complete=True, rows=rows if full or size != "1" else None),
                (Request(f"GET /{call.surface}", 1, self._now_ms(), 200),))

    async def close(self) -> None:
        if self._log:
            with Path(self._log).open("a") as log:  # noqa: ASYNC230 - as above
                log.write("closed\n")


def open_exchange(spec: ExchangeSpec, clock: Clock) -> EchoExchange:
    return EchoExchange(spec, clock)
