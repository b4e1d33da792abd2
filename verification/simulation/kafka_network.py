"""The network between the clients and the broker: connections, and whether anything passes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any

from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from verification.simulation.kafka_faults import Answer, Faults
from verification.simulation.kafka_wire import Caller, Connection, Handler
from verification.simulation.virtual_loop import VirtualLoop

# Clients find the cluster by the first name, and use the broker's name from then on.
HOST, BROKER_HOST, PORT = "kafka.model", "broker.model", 9092
MEMBERSHIP_API_KEYS = frozenset(
    request.API_KEY
    for request in (JoinGroupRequest, SyncGroupRequest, HeartbeatRequest, OffsetCommitRequest)
)


class Network:
    """Owns the connections. Requests meet their latency and their faults here."""

    def __init__(self, loop: VirtualLoop, faults: Faults) -> None:
        self._loop = loop
        self._faults = faults
        self._handlers: Mapping[tuple[int, int], tuple[type[Any], Handler]] = {}
        self._connections: dict[Connection, None] = {}
        self._numbers = count()
        self._is_up = True
        self._flows = asyncio.Event()
        self._flows.set()
        self._cut_off: dict[str, asyncio.Event] = {}
        self._broker_host = BROKER_HOST
        self.requests: Counter[str] = Counter()

    def open(self, handlers: Mapping[tuple[int, int], tuple[type[RequestStruct], Handler]]) -> None:
        """Accept connections; requests are answered by these handlers, by API key and version."""
        self._handlers = handlers
        self._loop.listen(HOST, PORT, self._accept)
        self._loop.listen(self._broker_host, PORT, self._accept)

    @property
    def is_reachable(self) -> bool:
        """True while the broker accepts connections and answers."""
        return self._is_up and self._flows.is_set()

    @property
    def broker_address(self) -> tuple[str, int]:
        """The host and the port at which the broker is now."""
        return self._broker_host, PORT

    # --- faults -----------------------------------------------------------------------------------

    def take_down(self) -> None:
        """Break all connections, and refuse new connections.

        No session ends meanwhile: a coordinator that comes back starts its timers anew.
        """
        self._is_up = False
        self.cut_connections()

    def bring_up(self) -> None:
        """End what `take_down` or `hang` has begun."""
        self._is_up = True
        self._flows.set()

    def move(self) -> None:
        """Move the broker to a new address; the old address leads nowhere."""
        self._loop.close_listener(self._broker_host, PORT)
        self._broker_host = f"moved-{next(self._numbers)}.{BROKER_HOST}"
        self._loop.listen(self._broker_host, PORT, self._accept)
        self.cut_connections()

    def hang(self) -> None:
        """Answer no request any more, with all connections open."""
        self._flows.clear()

    def cut_connections(self) -> None:
        """Break all connections; new connections are accepted."""
        for connection in list(self._connections):
            connection.cut()

    def silence_connections(self, *, but_memberships: bool = True) -> None:
        """Stop serving all connections without notice; new connections work.

        The connections of members to their coordinator may be left out.
        """
        for connection in list(self._connections):
            if not (but_memberships and connection.is_membership) and connection.server is not None:
                connection.server.cancel()

    def cut_off(self, client_id: str) -> None:
        """Hold back the requests of this client, with its connections open; others are served."""
        self._cut_off[client_id] = asyncio.Event()

    def reconnect(self, client_id: str) -> None:
        """Let the requests arrive that the client has sent meanwhile."""
        self._cut_off.pop(client_id).set()

    # --- serving ----------------------------------------------------------------------------------

    def _accept(self, protocol: asyncio.BaseProtocol) -> Connection:
        if not self._is_up:
            raise ConnectionRefusedError("the cluster is down")
        connection = Connection(protocol)
        connection.server = self._loop.create_task(
            self._serve(connection), name=f"model-kafka-{next(self._numbers)}"
        )
        self._connections[connection] = None
        connection.server.add_done_callback(lambda server: self._end(connection, server))
        return connection

    def _end(self, connection: Connection, server: asyncio.Task[None]) -> None:
        del self._connections[connection]
        if not server.cancelled() and (error := server.exception()) is not None:
            self._loop.raise_later(error)

    async def _serve(self, connection: Connection) -> None:
        """Answer requests in order, as a broker does: they wait behind a long poll."""
        while True:
            (api_key, version, correlation_id, client_id), body = await connection.receive()
            connection.is_membership |= api_key in MEMBERSHIP_API_KEYS
            request, handler = self._handlers[api_key, version]
            self.requests[request.__name__] += 1
            fault = self._faults.next(api_key)
            await asyncio.sleep(self._faults.latency() + fault.delay_seconds)
            if client_id in self._cut_off:
                await self._cut_off[client_id].wait()
            await self._flows.wait()
            response = await handler(request.decode(body), Caller(client_id, fault.error))
            await asyncio.sleep(self._faults.latency())
            await self._flows.wait()
            match fault.answer:
                case Answer.SENT:
                    connection.answer(correlation_id, response)
                case Answer.LOST:
                    connection.cut()
                case Answer.NEVER:
                    await asyncio.Event().wait()
