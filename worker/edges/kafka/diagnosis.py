"""Why brokers can't be used, by name: aiokafka says "Unable to bootstrap" of a wrong password and
of a wrong port alike.

Each server is tried step by step, over connections of its own: its name, TCP, TLS, the login, and
where it says that the brokers are. What it might be instead (TLS on a port that was taken for
plain, say) isn't guessed but tried. Nothing is joined, written or read, and a server that says
nothing takes some seconds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, cast

from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    BrokerResponseError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from worker.edges.kafka.client import KafkaConnection, TlsNotUsableError

SECONDS_MAX = 5.0
# Of a long list the first servers say it all.
SERVERS_MAX = 5
DEFAULT_PORT = 9092
# A broker says at once what it has against a certificate.
REFUSAL_SECONDS = 1.0
CLOSE_SECONDS_MAX = 0.5
# What a connection can end with; time-outs and faults of TLS are OSErrors. EOFError: it was closed
# in the middle.
CONNECTION_ERRORS = (KafkaError, OSError, EOFError)


class Cause(StrEnum):
    """What keeps a server from being used."""

    UNKNOWN_NAME = "unknown_name"
    NOBODY_LISTENS = "nobody_listens"
    NOT_REACHED = "not_reached"
    NO_ANSWER = "no_answer"
    CLOSED = "closed"
    TLS_FILES = "tls_files"
    SPEAKS_TLS = "speaks_tls"
    SPEAKS_NO_TLS = "speaks_no_tls"
    TLS_FAILED = "tls_failed"
    UNTRUSTED = "untrusted"
    OTHER_NAME = "other_name"
    OWN_CERTIFICATE = "own_certificate"
    LOGIN_WANTED = "login_wanted"
    NO_LOGIN_WANTED = "no_login_wanted"
    MECHANISM = "mechanism"
    PASSWORD = "password"
    ADVERTISED = "advertised"


class Found(NamedTuple):
    """A cause, and what is wrong and what to do in a sentence."""

    cause: Cause
    detail: str


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
    """What is wrong with each of the servers; empty if nothing is found to be.

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
    del arguments["bootstrap_servers"]
    found = await asyncio.gather(
        *(_Server(server, arguments).check(seconds_max) for server in servers)
    )
    return [
        BrokerFault(server, *one)
        for server, one in zip(servers, found, strict=True)
        if one is not None
    ]


async def explain(connection: KafkaConnection, error: Exception) -> str:
    """This error in words: where it may be due to the way to the brokers, with what is wrong with
    each of them.
    """
    # What a broker refuses it has answered: the way there is well, and what it says is the cause.
    faults = [] if isinstance(error, BrokerResponseError) else await diagnose(connection)
    if not faults:
        return _text(error)
    text = "; ".join(str(fault) for fault in faults)
    return text if len(faults) == len(connection.bootstrap_servers) else f"{_text(error)}; {text}"


class _Server:
    """One server, and the arguments with which the worker connects to it."""

    def __init__(self, server: str, arguments: dict[str, Any]) -> None:
        self._host, self._port = _split(server)
        self._arguments = arguments
        self._protocol: str = arguments["security_protocol"]

    async def check(self, seconds_max: float) -> Found | None:
        """Go through all steps; None if none fails."""
        try:
            async with asyncio.timeout(seconds_max):
                return await _reach(self._host, self._port) or await self._ask()
        except TimeoutError:
            what = f"it accepts the connection, but gives no answer within {seconds_max:g} s"
            return Found(Cause.NO_ANSWER, f"{what}: check that it is a Kafka broker and runs well")

    async def _ask(self) -> Found | None:
        try:
            async with self._connected(self._arguments) as connected:
                answer = cast(Any, await connected.send(MetadataRequest([])))
        except CONNECTION_ERRORS as error:
            return self._of_login(error) or await (
                self._of_tls(error) if self._protocol.endswith("SSL") else self._of_plain(error)
            )
        return await _advertised([(host, port) for _, host, port, *_ in answer.brokers])

    @asynccontextmanager
    async def _connected(self, arguments: dict[str, Any]) -> AsyncIterator[AIOKafkaConnection]:
        connection = AIOKafkaConnection(self._host, self._port, **arguments)
        try:
            await connection.connect()
            yield connection
        finally:
            # None where not even the connecting has begun.
            closed: asyncio.Future[None] | None = connection.close()
            if closed is not None:
                await asyncio.wait([closed], timeout=CLOSE_SECONDS_MAX)

    def _of_login(self, error: Exception) -> Found | None:
        mechanism = self._arguments.get("sasl_mechanism")
        match error:
            case SaslAuthenticationFailed():
                user = self._arguments.get("sasl_plain_username")
                what = f"it refuses the login of user {user!r} by {mechanism}"
                return Found(
                    Cause.PASSWORD,
                    f"{what}: correct kafka.sasl_username, sasl_password or sasl_mechanism",
                )
            case IllegalSaslStateError():
                protocol = "SSL" if self._protocol == "SASL_SSL" else "PLAINTEXT"
                return Found(
                    Cause.NO_LOGIN_WANTED,
                    f"this port requires no login: set kafka.security_protocol to {protocol}",
                )
            case UnsupportedSaslMechanismError():
                return Found(
                    Cause.MECHANISM,
                    f"it does not offer the SASL mechanism {mechanism}: correct "
                    "kafka.sasl_mechanism",
                )
            case _:
                return None

    async def _of_tls(self, error: Exception) -> Found:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message
            if "mismatch" in why:
                return Found(
                    Cause.OTHER_NAME,
                    f"its certificate is for another name ({why}): use the name of the "
                    "certificate in kafka.bootstrap_servers",
                )
            return Found(
                Cause.UNTRUSTED, f"its certificate isn't trusted ({why}): correct kafka.ssl_ca_file"
            )
        if (mechanisms := await self._mechanisms(None)) is not None:
            protocol = "SASL_PLAINTEXT" if mechanisms else "PLAINTEXT"
            what = "this port does not use TLS"
            return Found(
                Cause.SPEAKS_NO_TLS,
                f"{what}: use its TLS port, or set kafka.security_protocol to {protocol}",
            )
        if (refusal := await self._refusal_of_certificate()) is not None:
            what = f"it refuses the client certificate, or requires one ({refusal})"
            return Found(
                Cause.OWN_CERTIFICATE,
                f"{what}: correct kafka.ssl_certificate_file and ssl_key_file",
            )
        return await self._of_close() or Found(
            Cause.TLS_FAILED, f"the TLS connection fails: {_text(error)}"
        )

    async def _of_plain(self, error: Exception) -> Found:
        if await self._speaks_tls():
            protocol = (
                "SASL_SSL" if self._protocol.startswith("SASL_") else "SSL (with a login: SASL_SSL)"
            )
            what = "this port uses TLS"
            return Found(
                Cause.SPEAKS_TLS,
                f"{what}: set kafka.security_protocol to {protocol}, or use its port without TLS",
            )
        if isinstance(error, TimeoutError):
            raise error
        closed = Found(
            Cause.CLOSED,
            f"it closes the connection ({_text(error)}): check that it is a Kafka broker",
        )
        return await self._of_close() or closed

    async def _of_close(self) -> Found | None:
        """Before a login a broker answers what it is, and ends the connection at the first
        question.
        """
        mechanisms = await self._mechanisms(self._arguments.get("ssl_context"))
        if not mechanisms or self._protocol.startswith("SASL_"):
            return None
        what = f"this port requires a login ({', '.join(mechanisms)})"
        return Found(
            Cause.LOGIN_WANTED,
            f"{what}: set kafka.security_protocol to SASL_{self._protocol}, and kafka.sasl_…",
        )

    async def _mechanisms(self, context: ssl.SSLContext | None) -> list[str] | None:
        """Which logins are offered, with or without TLS; empty for none. None: it doesn't speak
        Kafka in this way.
        """
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
            # What has been found out by then.
            pass
        return mechanisms

    async def _refusal_of_certificate(self) -> str | None:
        """What the broker says of our certificate: it does so right after the handshake, where
        aiokafka doesn't tell of it.
        """
        try:
            reader, writer = await asyncio.open_connection(
                self._host, self._port, ssl=self._arguments["ssl_context"]
            )
        except (OSError, EOFError) as error:
            return _about_certificate(error)
        try:
            # A broker that has nothing against it waits to be asked.
            async with asyncio.timeout(REFUSAL_SECONDS):
                await reader.read(1)
        except OSError as error:
            return _about_certificate(error)
        finally:
            await _end(writer)
        return None

    async def _speaks_tls(self) -> bool:
        context = ssl.create_default_context()
        # Nothing is sent over it: whose certificate it is doesn't matter.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            _, writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        except (OSError, EOFError):
            return False
        await _end(writer)
        return True


def _split(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    # An IPv6 address without a port ends with its bracket.
    if not colon or not port.isdigit():
        return server.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port)


async def _reach(host: str, port: int) -> Found | None:
    """Connect and close; what stands in the way, None for nothing."""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )
    except (socket.gaierror, UnicodeError) as error:
        what = f"the name {host} can't be resolved ({_text(error)})"
        return Found(
            Cause.UNKNOWN_NAME, f"{what}: correct kafka.bootstrap_servers, or check the DNS"
        )
    faults: list[OSError] = []
    # One after the other: of several at once asyncio tells no more than their texts.
    for *_, address in addresses:
        try:
            _, writer = await asyncio.open_connection(str(address[0]), port)
        except OSError as error:
            faults.append(error)
        else:
            await _end(writer)
            return None
    if all(isinstance(fault, ConnectionRefusedError) for fault in faults):
        return Found(
            Cause.NOBODY_LISTENS,
            "nothing listens at this address: start Kafka, or correct the address and the port",
        )
    return Found(
        Cause.NOT_REACHED, f"it can't be reached ({_text(faults[0])}): check the network between"
    )


async def _advertised(brokers: Sequence[tuple[str, int]]) -> Found | None:
    """Whoever has bootstrapped goes on where the brokers say that they are."""
    for host, port in brokers[:SERVERS_MAX]:
        found = await _reach(host, port)
        if found is not None:
            what = (
                f"it answers and advertises a broker at {host}:{port}; for that address: "
                f"{found.detail}"
            )
            return Found(
                Cause.ADVERTISED,
                f"{what}. Correct advertised.listeners of the brokers, or the route to that "
                "address",
            )
    return None


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close it without the courtesies of TLS, for which a server may let us wait."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def _about_certificate(error: Exception) -> str | None:
    """What TLS says where it is about certificates: CERTIFICATE_REQUIRED, BAD_CERTIFICATE,
    UNKNOWN_CA and their like.
    """
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (
        reason
        if reason is not None and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)
        else None
    )


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
