"""The HTTP sides of a run: one on a free loopback port for our own commands, and one for others if asked for."""

import asyncio
import os
import secrets

from fleetsync.engine import Engine
from fleetsync.errors import ConfigError
from fleetsync_adapters.control import run_file_of
from fleetsync_adapters.http_api import ApiServer

_PORTS = 65_536


class Serving:
    """All HTTP sides of one engine, started and stopped together."""

    def __init__(self, engine: Engine, db_path: str, *, http: str | None = None, token_env: str | None = None) -> None:
        """Serve `engine`; `http` is the HOST:PORT for others.

        Raises:
            ConfigError: the address or the token cannot be used.
        """
        self._servers = [ApiServer(engine, token=secrets.token_urlsafe(32), run_file=run_file_of(db_path))]
        self.public: ApiServer | None = None
        if http is not None:
            host, port = address(http)
            self.public = ApiServer(engine, host=host, port=port, token=_token(token_env))
            self._servers.append(self.public)
        elif token_env is not None:
            raise ConfigError("--http-token-env says who may use --http, which was not given")

    async def start(self) -> None:
        """Listen on all of them.

        Raises:
            AddressInUse: another program has the port.
        """
        for server in reversed(self._servers):  # the run file is written only when nothing else can be refused
            await server.start()

    async def stop(self) -> None:
        """Stop those that were started."""
        await asyncio.gather(*(server.stop() for server in self._servers))


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT` taken apart; an IPv6 host stands in brackets.

    Raises:
        ConfigError: it is no such thing.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) >= _PORTS:
        raise ConfigError(f"--http must be HOST:PORT, was {text[:80]!r}", hint="like 127.0.0.1:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if not token:
        raise ConfigError(f"the environment variable {variable[:80]!r} that --http-token-env names is not set",
                          hint="put a token of 16 characters or more into it")
    return token
