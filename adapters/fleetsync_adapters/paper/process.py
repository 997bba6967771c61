"""The paper exchange as a child process: start it on a free port, wait until it serves, talk to it, stop it.

The demo, the tests and the benchmarks all use this one helper.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from fleetsync.errors import FleetsyncError
from fleetsync_adapters.paper.keys import AccountKeys, all_account_keys


class PaperFailed(FleetsyncError):
    """The paper exchange did not start, or refused an admin request; the message says why."""


class PaperAdmin:
    """The admin endpoints of a running paper exchange."""

    def __init__(self, base_url: str) -> None:
        """Talk to the paper exchange at `base_url`."""
        self._base_url = base_url
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **params: str | int) -> Any:
        """One admin request; returns its JSON.

        Raises:
            PaperFailed: it was refused, or the exchange does not answer.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        try:
            async with self._session.request(
                method, f"{self._base_url}/paper/{path}", json=body, params=params
            ) as response:
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise PaperFailed(f"the paper exchange does not answer: {type(error).__name__}") from error
        if response.status != 200:
            raise PaperFailed(f"the paper exchange refused {method} {path}: {answer.get('error')}")
        return answer

    async def summary(self, ip: str = "") -> dict[str, Any]:
        """The ledger's totals, of all requests or of one address."""
        found: dict[str, Any] = await self.ask("GET", "ledger/summary", None, **({"ip": ip} if ip else {}))
        return found

    async def ledger(self, after: int = -1, limit: int = 1000) -> dict[str, Any]:
        """A page of ledger rows numbered above `after`, and where the next page begins."""
        found: dict[str, Any] = await self.ask("GET", "ledger", after=after, limit=limit)
        return found

    async def books(self, account: str = "") -> dict[str, Any]:
        """What accounts hold, by account id: of one, or of all that hold or wait for something."""
        found = await self.ask("GET", "books", None, **({"account": account} if account else {}))
        accounts: dict[str, Any] = found["accounts"]
        return accounts

    async def open_accounts(self, count: int, balance: str = "") -> list[dict[str, Any]]:
        """New accounts with their keys."""
        body: dict[str, Any] = {"count": count} | ({"balance": balance} if balance else {})
        opened: list[dict[str, Any]] = (await self.ask("POST", "accounts", body))["accounts"]
        return opened

    async def open_position(
        self, account: str, symbol: str, side: str, *, size: str = "", notional: str = ""
    ) -> dict[str, Any]:
        """Open (or add to) a position by hand; returns the order."""
        figures = {"size": size} if size else {"notional": notional or "100"}
        body = {"account": account, "symbol": symbol, "side": side, **figures}
        order: dict[str, Any] = (await self.ask("POST", "position", body))["order"]
        return order

    async def close_position(self, account: str, symbol: str) -> dict[str, Any] | None:
        """Close a position by hand; None when there is none."""
        body = {"account": account, "symbol": symbol, "close": True}
        order: dict[str, Any] | None = (await self.ask("POST", "position", body))["order"]
        return order

    async def place_order(
        self, account: str, symbol: str, side: str, kind: str, size: str, **more: Any
    ) -> dict[str, Any]:
        """Place an order by hand; `more`: price, trigger, reduce_only, client_id."""
        body = {"account": account, "symbol": symbol, "side": side, "type": kind, "size": size, **more}
        placed: dict[str, Any] = await self.ask("POST", "order", body)
        return placed

    async def cancel_order(self, account: str, order_id: str) -> None:
        """Cancel an order or conditional order by hand."""
        await self.ask("POST", "cancel", {"account": account, "order_id": order_id})

    async def liquidate(self, account: str, symbol: str) -> dict[str, Any]:
        """Let the exchange take a position over; returns its order."""
        order: dict[str, Any] = (await self.ask("POST", "liquidate", {"account": account, "symbol": symbol}))["order"]
        return order

    async def misbehave(self, kind: str, *, endpoint: str = "", account: str = "", count: int = 1, **more: int) -> None:
        """Order a fault for the next `count` requests that match; `more`: delay_ms, rows, status."""
        one = {"kind": kind, "endpoint": endpoint, "account": account, "count": count, **more}
        await self.ask("POST", "faults", {"orders": [one]})

    async def misbehave_by_seed(self, seed: int, shares: dict[str, float], **more: Any) -> None:
        """Let a share of all requests meet faults; `more`: delay_ms, latency_ms, rows."""
        await self.ask("POST", "faults", {"seed": seed, "shares": shares, **more})

    async def behave(self) -> None:
        """End all faults."""
        await self.ask("DELETE", "faults")

    async def set_limits(self, **numbers: int | bool) -> None:
        """Change limits; `forgive=True` also forgets what was used and every ban."""
        await self.ask("POST", "limits", dict(numbers))

    async def set_clock(self, *, skew_ms: int | None = None, advance_ms: int = 0) -> None:
        """Skew the shown clock, or move the exchange's time forward."""
        await self.ask("POST", "clock", {"advance_ms": advance_ms} | ({} if skew_ms is None else {"skew_ms": skew_ms}))

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class PaperProcess:
    """A paper exchange in a process of its own; use it as `async with PaperProcess(...) as paper`."""

    def __init__(
        self, *, seed: int = 1, accounts: int = 10, markets: int = 600, weight_per_minute: int = 2400,
        unlimited: bool = False, host: str = "127.0.0.1", port: int = 0,
    ) -> None:
        """Port 0 takes a free one."""
        self.seed = seed
        self.accounts = accounts
        self._options = [
            "--host", host, "--port", str(port), "--seed", str(seed), "--accounts", str(accounts),
            "--markets", str(markets), "--weight-per-minute", str(weight_per_minute),
            *(["--unlimited"] if unlimited else []),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.base_url = ""
        self.admin = PaperAdmin("")

    def keys(self) -> list[AccountKeys]:
        """The keys of its accounts; derived, not transferred."""
        return all_account_keys(self.seed, self.accounts)

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def start(self, within_s: float = 30) -> Self:
        """Start it and wait until it serves.

        Raises:
            PaperFailed: it ended before, or took too long.
        """
        with tempfile.TemporaryDirectory(prefix="fleetsync-paper-") as folder:
            await self._start(Path(folder) / "ready", within_s)
        return self

    async def _start(self, ready: Path, within_s: float) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # asyncio's own subprocess would tie the child to this loop; starting one blocks for a few milliseconds only.
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - as said above; our own interpreter and module
            [sys.executable, "-m", "fleetsync_adapters.paper", *self._options, "--ready-file", str(ready),
             "--ends-with-stdin"],  # however we end, the system closes our end of this pipe
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is for the parent, which then stops this child in order
        )
        try:
            async with asyncio.timeout(within_s):
                while not (base_url := _told(ready)):
                    self._check_alive()
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            await self.stop()
            raise PaperFailed(f"the paper exchange did not start within {within_s} s") from error
        except PaperFailed:
            await self.stop()
            raise
        self.base_url = base_url
        self.admin = PaperAdmin(self.base_url)

    async def stop(self, within_s: float = 5) -> int:
        """End it; returns its exit code (0 after a clean end)."""
        await self.admin.close()
        code = 0
        if self._process is not None:
            self._process.terminate()
            try:
                code = await asyncio.to_thread(self._process.wait, within_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = await asyncio.to_thread(self._process.wait)
            for pipe in (self._process.stdin, self._process.stderr):
                if pipe is not None:
                    pipe.close()
            self._process = None
        return code

    def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise PaperFailed(f"the paper exchange did not start: {self._last_words()}")

    def _last_words(self) -> str:
        assert self._process is not None, "it was started"
        assert self._process.stderr is not None, "it was started with a pipe"
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _told(ready: Path) -> str:
    """Where it serves; "" while it does not."""
    return ready.read_text(encoding="utf-8") if ready.exists() else ""
