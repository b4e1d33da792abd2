"""Finds out why brokers can't be used.

aiokafka raises "Unable to bootstrap" for a wrong password and a wrong port alike.

Each server is tried step by step, over connections of its own: its name, TCP, TLS, the login, and
the advertised addresses. Alternatives (TLS on a port that was taken for plain, say) aren't guessed
but tried. Nothing is joined, written or read, and a silent server takes some seconds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import BrokerResponseError, KafkaError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from worker.edges.kafka.aiokafka_internals.connection import Connection
from worker.edges.kafka.broker_address import (
    SERVERS_MAX,
    Cause,
    Diagnosis,
    abort,
    host_and_port,
    reach,
    reach_advertised,
    text_of,
)
from worker.edges.kafka.broker_refusal import about_certificate, of_login, of_server_certificate
from worker.edges.kafka.client import KafkaConnection, TlsNotUsableError
from worker.edges.kafka.tokens import TokenNotObtainedError

SECONDS_MAX = 5.0
# A broker refuses a certificate at once.
REFUSAL_SECONDS = 1.0
CLOSE_SECONDS_MAX = 0.5
# The errors of a connection; time-outs and faults of TLS are OSErrors. EOFError: it was cut off.
CONNECTION_ERRORS = (KafkaError, OSError, EOFError)


@dataclass(frozen=True, slots=True)
class BrokerFault:
    """One server that can't be used."""

    server: str
    cause: Cause
    detail: str

    def __str__(self) -> str:
        return f"{self.server}: {self.detail}"


async def diagnose(
    connection: KafkaConnection, seconds_max: float = SECONDS_MAX
) -> list[BrokerFault]:
    """Find out what is wrong with each of the servers; empty if no fault is found.

    Args:
        connection: how to connect.
        seconds_max: for each server; all are tried at the same time.
    """
    servers = connection.bootstrap_servers[:SERVERS_MAX]
    try:
        # Half of the time, so that there is some left to find out why there is no answer.
        arguments = connection.capped(seconds_max / 2).arguments()
    except TlsNotUsableError as error:
        return [BrokerFault(server, Cause.TLS_FILES, str(error)) for server in servers]
    provider = connection.security.token_provider
    try:
        # Before the time for the servers begins. They are asked with this token.
        if provider is not None:
            await provider.token()
    except TokenNotObtainedError as error:
        return [BrokerFault(server, Cause.TOKEN, str(error)) for server in servers]
    del arguments["bootstrap_servers"]
    found = await asyncio.gather(
        *(_Server(server, arguments).check(seconds_max) for server in servers)
    )
    return [
        BrokerFault(server, *diagnosis)
        for server, diagnosis in zip(servers, found, strict=True)
        if diagnosis is not None
    ]


async def explain(connection: KafkaConnection, error: Exception) -> str:
    """Explain this error: where the network may be its cause, with the fault of each broker."""
    # A broker that refuses has answered: the network is well, and the refusal is the cause.
    faults = [] if isinstance(error, BrokerResponseError) else await diagnose(connection)
    if not faults:
        return text_of(error)
    text = "; ".join(str(fault) for fault in faults)
    return text if len(faults) == len(connection.bootstrap_servers) else f"{text_of(error)}; {text}"


class _Server:
    """One server, and the arguments with which the worker connects to it."""

    def __init__(self, server: str, arguments: dict[str, Any]) -> None:
        self._host, self._port = host_and_port(server)
        self._arguments = arguments
        self._protocol: str = arguments["security_protocol"]

    async def check(self, seconds_max: float) -> Diagnosis | None:
        """Go through all steps; returns None if none fails."""
        try:
            async with asyncio.timeout(seconds_max):
                return await reach(self._host, self._port) or await self._ask()
        except TimeoutError:
            what = f"it accepts the connection, but gives no answer within {seconds_max:g} s"
            return Diagnosis(
                Cause.NO_ANSWER, f"{what}: check that it is a Kafka broker and runs well"
            )

    async def _ask(self) -> Diagnosis | None:
        try:
            async with self._connected(self._arguments) as connected:
                answer = cast(Any, await connected.send(MetadataRequest([])))
        except CONNECTION_ERRORS as error:
            return of_login(error, self._arguments) or await (
                self._of_tls(error) if self._protocol.endswith("SSL") else self._of_plain(error)
            )
        return await reach_advertised([(host, port) for _, host, port, *_ in answer.brokers])

    @asynccontextmanager
    async def _connected(self, arguments: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
        connection: AIOKafkaConnection = Connection(self._host, self._port, **arguments)  # type: ignore[no-untyped-call]
        try:
            await connection.connect()
            yield connection
        finally:
            # None where not even the connecting has begun.
            closed: asyncio.Future[None] | None = connection.close()
            if closed is not None:
                await asyncio.wait([closed], timeout=CLOSE_SECONDS_MAX)

    async def _of_tls(self, error: Exception) -> Diagnosis:
        if isinstance(error, ssl.SSLCertVerificationError):
            return of_server_certificate(error)
        if (mechanisms := await self._mechanisms(None)) is not None:
            protocol = "SASL_PLAINTEXT" if mechanisms else "PLAINTEXT"
            what = "this port does not use TLS"
            return Diagnosis(
                Cause.SPEAKS_NO_TLS,
                f"{what}: use its TLS port, or set kafka.security_protocol to {protocol}",
            )
        if (refusal := await self._refusal_of_certificate()) is not None:
            what = f"it refuses the client certificate, or requires one ({refusal})"
            return Diagnosis(
                Cause.OWN_CERTIFICATE,
                f"{what}: correct kafka.ssl_certificate_file and ssl_key_file",
            )
        return await self._of_close() or Diagnosis(
            Cause.TLS_FAILED, f"the TLS connection fails: {text_of(error)}"
        )

    async def _of_plain(self, error: Exception) -> Diagnosis:
        if await self._speaks_tls():
            protocol = (
                "SASL_SSL" if self._protocol.startswith("SASL_") else "SSL (with a login: SASL_SSL)"
            )
            what = "this port uses TLS"
            return Diagnosis(
                Cause.SPEAKS_TLS,
                f"{what}: set kafka.security_protocol to {protocol}, or use its port without TLS",
            )
        if isinstance(error, TimeoutError):
            raise error
        closed = Diagnosis(
            Cause.CLOSED,
            f"it closes the connection ({text_of(error)}): check that it is a Kafka broker",
        )
        return await self._of_close() or closed

    async def _of_close(self) -> Diagnosis | None:
        """Return the fault of a missing login, if the server offers logins and none is used."""
        mechanisms = await self._mechanisms(self._arguments.get("ssl_context"))
        if not mechanisms or self._protocol.startswith("SASL_"):
            return None
        what = f"this port requires a login ({', '.join(mechanisms)})"
        return Diagnosis(
            Cause.LOGIN_WANTED,
            f"{what}: set kafka.security_protocol to SASL_{self._protocol}, and kafka.sasl_…",
        )

    async def _mechanisms(self, context: ssl.SSLContext | None) -> list[str] | None:
        """Return the offered SASL mechanisms, asked with or without TLS; None: it isn't Kafka."""
        protocol = "PLAINTEXT" if context is None else "SSL"
        mechanisms: list[str] | None = None
        try:
            async with self._connected(
                self._arguments | {"security_protocol": protocol, "ssl_context": context}
            ) as connected:
                mechanisms = []
                mechanisms = list(
                    cast(
                        Any, await connected.send(SaslHandShakeRequest("PLAIN"))
                    ).enabled_mechanisms
                )
        except CONNECTION_ERRORS:
            # What was answered before the error counts.
            pass
        return mechanisms

    async def _refusal_of_certificate(self) -> str | None:
        """Return the broker's refusal of our certificate, right after the handshake.

        aiokafka doesn't report the refusal.
        """
        try:
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._arguments["ssl_context"]
            )
        except (OSError, EOFError) as error:
            return about_certificate(error)
        try:
            # A broker that accepts it waits for a request.
            async with asyncio.timeout(REFUSAL_SECONDS):
                await reader.read(1)
        except OSError as error:
            return about_certificate(error)
        finally:
            await abort(writer)
        return None

    async def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        # Nothing is sent over it, so any certificate will do.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except (OSError, EOFError):
            return False
        await abort(writer)
        return True
