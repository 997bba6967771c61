"""The HTTP sides of a run: one on a free loopback port for our own commands, and one for others if asked for."""

import asyncio
import secrets
import socket

from fleetsync.engine import Engine
from fleetsync_adapters.cli.http_side import HttpSide
from fleetsync_adapters.control import run_file_of
from fleetsync_adapters.http_api import ApiServer


class Serving:
    """All HTTP sides of one engine, started and stopped together."""

    def __init__(self, engine: Engine, db_path: str, public: HttpSide | None, listener: socket.socket | None) -> None:
        """Serve `engine`, for others too if there is a `public` side, on the socket that was taken for it.

        Raises:
            ConfigError: the token is too weak.
        """
        self._servers = [ApiServer(engine, token=secrets.token_urlsafe(32), run_file=run_file_of(db_path))]
        self.public: ApiServer | None = None
        if public is not None:
            self.public = ApiServer(engine, host=public.host, port=public.port, listener=listener, token=public.token)
            self._servers.append(self.public)

    async def start(self) -> None:
        """Answer on all of them.

        Raises:
            StoreRefused: the run file cannot be written.
        """
        for server in reversed(self._servers):  # the run file is written only when nothing else can be refused
            await server.start()

    async def stop(self) -> None:
        """Stop those that were started."""
        await asyncio.gather(*(server.stop() for server in self._servers))
