"""Where the HTTP interface for others is and who may use it: checked before anything starts."""

import ipaddress
import os
from dataclasses import dataclass, field

from fleetsync.errors import ConfigError

_PORTS = 65_536


@dataclass(frozen=True, slots=True)
class HttpSide:
    """An address to serve, and the token that it asks for."""

    host: str
    port: int
    token: str | None = field(default=None, repr=False)


def http_side(text: str | None, token_env: str | None) -> HttpSide | None:
    """What `--http` and `--http-token-env` ask for.

    Raises:
        ConfigError: the address or the token cannot be used.
    """
    if text is None:
        if token_env is not None:
            raise ConfigError("--http-token-env says who may use --http, which was not given")
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) >= _PORTS:
        raise ConfigError(f"--http must be HOST:PORT, was {text[:80]!r}", hint="like 127.0.0.1:8080")
    side = HttpSide(host.removeprefix("[").removesuffix("]"), int(port), _token(token_env))
    if side.token is None and not _on_loopback(side.host):
        raise ConfigError(f"--http {text[:80]} can be reached from other machines: it needs a token",
                          hint="name an environment variable that holds one as --http-token-env, or use 127.0.0.1")
    return side


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    if not token:
        raise ConfigError(f"the environment variable {variable[:80]!r} that --http-token-env names is not set",
                          hint="put a token of 16 characters or more into it")
    return token


def _on_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
