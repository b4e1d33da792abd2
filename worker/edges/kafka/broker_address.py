"""Whether the address of a broker can be reached, and what prevents it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from aiokafka.errors import (
    BrokerResponseError,
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

# The first servers of a long list show the problem.
SERVERS_MAX = 5
DEFAULT_PORT = 9092


class Cause(StrEnum):
    """The reason why a server can't be used."""

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
    TOKEN = "token"
    ADVERTISED = "advertised"


class Diagnosis(NamedTuple):
    """The cause of a fault, and a sentence on what is wrong and what to do."""

    cause: Cause
    detail: str


def host_and_port(server: str) -> tuple[str, int]:
    """Return the parts of an entry of `kafka.bootstrap_servers`."""
    host, colon, port = server.rpartition(":")
    # An IPv6 address without a port ends with its bracket.
    if not colon or not port.isdigit():
        return server.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port)


async def reach(host: str, port: int) -> Diagnosis | None:
    """Connect and close; returns what prevents it, None for nothing."""
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )
    except (socket.gaierror, UnicodeError) as error:
        what = f"the name {host} can't be resolved ({text_of(error)})"
        return Diagnosis(
            Cause.UNKNOWN_NAME, f"{what}: correct kafka.bootstrap_servers, or check the DNS"
        )
    faults: list[OSError] = []
    # One after the other: for several at once asyncio reports no more than their texts.
    for *_, address in addresses:
        try:
            _, writer = await asyncio.open_connection(str(address[0]), port)
        except OSError as error:
            faults.append(error)
        else:
            await abort(writer)
            return None
    if all(isinstance(fault, ConnectionRefusedError) for fault in faults):
        return Diagnosis(
            Cause.NOBODY_LISTENS,
            "nothing listens at this address: start Kafka, or correct the address and the port",
        )
    return Diagnosis(
        Cause.NOT_REACHED, f"it can't be reached ({text_of(faults[0])}): check the network between"
    )


async def reach_advertised(brokers: Sequence[tuple[str, int]]) -> Diagnosis | None:
    """Connect to the advertised addresses, which clients use after the bootstrap."""
    for host, port in brokers[:SERVERS_MAX]:
        found = await reach(host, port)
        if found is not None:
            what = (
                f"it answers and advertises a broker at {host}:{port}; for that address: "
                f"{found.detail}"
            )
            return Diagnosis(
                Cause.ADVERTISED,
                f"{what}. Correct advertised.listeners of the brokers, or the route to that "
                "address",
            )
    return None


async def abort(writer: asyncio.StreamWriter) -> None:
    """Close without TLS's own shutdown, for which a server may let us wait."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def text_of(error: Exception) -> str:
    """Return the kind and the text of an error; of a missing permission, what to do.

    The text of aiokafka's own errors begins with their kind: here it would stand twice. Of a
    refused commit it advises to change settings that the worker doesn't have.
    """
    match error:
        case CommitFailedError():
            what = (
                "the group has gone on without this worker, which was stopped or cut off for too "
                "long; it joins again"
            )
        case GroupAuthorizationFailedError():
            what = "the worker's user may not use the group: grant READ and DESCRIBE on it"
        case TopicAuthorizationFailedError():
            topics = _names(error.args)
            what = (
                f"the worker's user lacks a permission on the topic {topics}: "
                "`check-config --connect` names it"
            )
        case BrokerResponseError():
            what = RuntimeError.__str__(error) or error.description
        case KafkaError():
            what = RuntimeError.__str__(error)
        case _:
            what = str(error)
    return f"{type(error).__name__}: {what}".rstrip(": ")


def _names(arguments: tuple[object, ...]) -> str:
    """Return the topics of an error: aiokafka gives a name, or a set of names."""
    first = arguments[0] if arguments else ""
    return ", ".join(sorted(map(str, first))) if isinstance(first, set | frozenset) else str(first)
