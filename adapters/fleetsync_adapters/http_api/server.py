"""`ApiServer`: the HTTP side of one engine, served within the engine's own loop."""

import asyncio
import logging
import re
import socket
from types import TracebackType
from typing import Any, Self

import uvicorn

from fleetsync.engine import Engine
from fleetsync.errors import ConfigError
from fleetsync.units import SECOND_MS, s_from_ms
from fleetsync_adapters.http_api.accepting import Server
from fleetsync_adapters.http_api.app import make_app
from fleetsync_adapters.http_api.gate import is_loopback
from fleetsync_adapters.http_api.host import CLOSING_MS, Host
from fleetsync_adapters.http_api.listening import listen
from fleetsync_adapters.http_api.run_file import RunFile
from fleetsync_adapters.http_api.snapshots import Snapshots

_LOG = logging.getLogger("fleetsync.http")
_TOKEN = re.compile(r"[!-~]{16,512}")
_HEARTBEAT_MS = 15 * SECOND_MS
_STALLED_MS = 60 * SECOND_MS


class ApiServer:
    """Serves an engine that has been started; use it as an async context manager, or with `start` and `stop`.

    Args:
        engine: it is started before and stopped after the server.
        host: the address to listen on.
        port: 0 takes a free one; see `url`.
        listener: a socket that `listening.listen` gave, in place of host and port; the server closes it.
        token: what clients have to show (16 or more visible ASCII characters); required off loopback.
        run_file: where to say that the engine runs, for programs of the same user; None says it nowhere.
        heartbeat_ms: a change stream without news sends a comment this often.
        stalled_ms: a reader that takes nothing for so long is cut off.

    Raises:
        ConfigError: the address is not loopback and there is no token, the token is too weak, or there is no such port.
    """

    def __init__(self, engine: Engine, *, host: str = "127.0.0.1", port: int = 0,
                 listener: socket.socket | None = None, token: str | None = None, run_file: str | None = None,
                 heartbeat_ms: int = _HEARTBEAT_MS, stalled_ms: int = _STALLED_MS) -> None:
        if listener is not None:
            host, port = listener.getsockname()[:2]
        if token is None and not is_loopback(host):
            raise ConfigError(f"{host} can be reached from other machines: a token is required",
                              hint="set a token, or listen on 127.0.0.1")
        if not 0 <= port < 65_536:
            raise ConfigError(f"port must be between 0 and 65535, was {port}")
        if token is not None and not _TOKEN.fullmatch(token):
            raise ConfigError("the token must be 16 to 512 visible ASCII characters, without blanks")
        self._engine = engine
        self._address = (host, port)
        self._listener = listener
        self._token = token
        self._run_file = RunFile(run_file) if run_file else None
        self._spans_ms = (heartbeat_ms, stalled_ms)
        self._bound: tuple[str, int] | None = None
        self._host: Host | None = None
        self._server: Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<ApiServer {self.url if self._bound else 'not started'}>"

    @property
    def url(self) -> str:
        """Where programs on this machine reach it."""
        assert self._bound is not None, "not started"
        host, port = self._bound
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised here, not bound
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> Self:
        """Listen and answer.

        Raises:
            AddressInUse: another program has the port.
            ConfigError: there is no such address on this machine.
            StoreRefused: the run file cannot be written.
        """
        listener = self._listener or await listen(*self._address)
        self._bound = listener.getsockname()[:2]
        heartbeat_ms, stalled_ms = self._spans_ms
        self._host = Host(self._engine, snapshots=Snapshots.of(self._engine, self),
                          started_at_ms=self._engine.clock.now_ms(), abort=self._abort,
                          heartbeat_ms=heartbeat_ms, stalled_ms=stalled_ms)
        config = uvicorn.Config(
            make_app(self._host, token=self._token), http="h11", ws="none", lifespan="off", log_config=None,
            log_level="warning", access_log=False, proxy_headers=False, server_header=False,
        )  # fmt: skip
        self._server = Server(config, stalled_ms=stalled_ms)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="fleetsync-http")
        self._watching = asyncio.create_task(self._watch(self._host), name="fleetsync-http-watch")
        try:
            if self._run_file is not None:
                self._run_file.write(self.url, self._token, self._host.started_at_ms)
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """End streams and waits, answer what can be answered within a second, close every connection."""
        if self._run_file is not None:
            self._run_file.remove()
        if self._host is None or self._server is None or self._serving is None or self._watching is None:
            return
        self._host.closing.set()
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=s_from_ms(CLOSING_MS + SECOND_MS // 2))
        for connection in list(self._server.server_state.connections):
            _transport(connection).abort()  # its reader has stopped reading
        self._watching.cancel()
        await asyncio.gather(self._serving, self._watching, return_exceptions=True)
        self._host.snapshots.let_go(self)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self.stop()

    async def _watch(self, host: Host) -> None:
        """Know when the engine has failed."""
        try:
            await self._engine.failed()
        except Exception:  # noqa: BLE001 - whatever it was, the engine has told it already
            host.failed = True

    def _abort(self, client: Any) -> None:
        """Cut the connection of a client that stopped reading."""
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                _transport(connection).abort()


def _transport(connection: Any) -> asyncio.WriteTransport:
    transport: asyncio.WriteTransport = connection.transport
    return transport
