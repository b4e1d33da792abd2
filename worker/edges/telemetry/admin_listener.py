"""The listening sockets of the admin port: where, and how many connections for how long.

Neither asyncio nor aiohttp bounds connections. They are bounded where they are accepted, so that a
TLS handshake that never ends counts as well.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from worker.errors import UnavailableError

# A connection serves one request and lasts no longer: a slower client reads no metrics either.
CONNECTION_SECONDS_MAX = 10.0
# Connections at once; for a further one the oldest is closed. A probe needs its connection for
# milliseconds, and an idle connection is soon the oldest.
CONNECTIONS_MAX = 100
EVERYWHERE = "::"
# The errors of a machine without IPv6, in its kernel or switched off by its administrator.
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: `::` means every address, of IPv4 as well.
        port: 0 takes a free port.
        settings: the settings to change where this address isn't available.
    """

    host: str
    port: int
    settings: str = "admin.host or admin.port"


def listen_everywhere(
    port: int, create: Callable[..., socket.socket] = socket.create_server
) -> socket.socket:
    """Open a socket for all addresses: of both families, or of IPv4 where there is no IPv6.

    Raises:
        OSError: the port is not available.
    """
    try:
        return create((EVERYWHERE, port), family=socket.AF_INET6, dualstack_ipv6=True)
    except ValueError:
        # The standard library's answer where no socket can serve both families.
        pass
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return create(("0.0.0.0", port), family=socket.AF_INET)


class AdminListener:
    """Listens on one address, of each family that its host has.

    Args:
        address: where.
        protocol: makes the protocol of each connection.
        context: of TLS; None: without.
    """

    def __init__(
        self,
        address: Address,
        protocol: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
    ) -> None:
        self._address = address
        self._protocol = protocol
        self._context = context
        self._servers: list[asyncio.Server] = []

    @property
    def port(self) -> int:
        """The port on which it listens."""
        if not self._servers:
            raise RuntimeError("the admin port is not open")
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the address is not available.
        """
        address, loop = self._address, asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {
                "ssl": self._context,
                "ssl_handshake_timeout": CONNECTION_SECONDS_MAX,
                "ssl_shutdown_timeout": CONNECTION_SECONDS_MAX,
            }
        try:
            for opened in await _opened(address):
                bounded = _BoundedSocket(opened.family, fileno=opened.detach())
                bounded.setblocking(False)
                self._servers.append(await loop.create_server(self._protocol, sock=bounded, **tls))
        except OSError as error:
            self.stop()
            host = f"[{address.host}]" if ":" in address.host else address.host
            raise UnavailableError(
                f"cannot listen on {host}:{address.port} ({error.strerror}); set {address.settings}"
            ) from None

    def stop(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()


async def _opened(address: Address) -> list[socket.socket]:
    """Open the sockets of an address: a name may have several."""
    if address.host == EVERYWHERE:
        return [listen_everywhere(address.port)]
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, place in dict.fromkeys((family, place) for family, _, _, _, place in found):
            opened.append(socket.create_server(place[:2], family=family))
    except OSError:
        for one in opened:
            one.close()
        raise
    return opened


class _BoundedSocket(socket.socket):
    """Bounds its connections in number and in time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._latest: deque[socket.socket] = deque()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; asyncio calls this on the event loop."""
        connection, address = super().accept()
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS_MAX, _end, connection)
        self._latest.append(connection)
        if len(self._latest) > CONNECTIONS_MAX:
            _end(self._latest.popleft())
        return connection, address


def _end(connection: socket.socket) -> None:
    """End a connection, if it is still open: its transport notices, and closes it."""
    if connection.fileno() >= 0:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
