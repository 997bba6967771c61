"""The listening socket: taken by itself, so that a taken port can be told before anything else is started."""

import asyncio
import errno
import socket

from fleetsync.errors import AddressInUse, ConfigError

_BACKLOG = 512


async def listen(host: str, port: int) -> socket.socket:
    """A listening socket; uvicorn itself would end the whole program where it cannot have one.

    Raises:
        AddressInUse: another program has the port.
        ConfigError: there is no such address on this machine.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error}") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the library takes it by position
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{host} port {port} is taken by another program",
                               hint="choose another port, or 0 for a free one") from error
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener
