"""Each reason for unusable brokers has a name: on listeners of Kafka, and on other sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.secured import NAME, OTHER_NAME, PASSWORD, USER, Secured, unsigned_token
from worker.edges.kafka.broker_address import Cause
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity, Secret
from worker.edges.kafka.diagnosis import BrokerFault, diagnose
from worker.edges.kafka.token_sources import TokenFile
from worker.edges.kafka.tokens import TokenProvider
from worker.sandbox.kafka import free_ports

PLAINTEXT = KafkaSecurity()
TLS = KafkaSecurity("SSL")
LOGIN = KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-256", USER, Secret(PASSWORD))


async def faults(security: KafkaSecurity, *servers: str) -> list[BrokerFault]:
    return await diagnose(KafkaConnection(servers, "test", 9.0, security), 20.0)


def causes(found: list[BrokerFault]) -> list[Cause]:
    return [fault.cause for fault in found]


async def test_a_healthy_connection_is_no_fault(secured: Secured) -> None:
    trusting = replace(TLS, ca_file=secured.ca_file)
    login = replace(LOGIN, protocol="SASL_SSL", ca_file=secured.ca_file)
    assert await faults(PLAINTEXT, f"{NAME}:{secured.plain}") == []
    assert await faults(LOGIN, f"{NAME}:{secured.login}") == []
    assert await faults(replace(LOGIN, sasl_mechanism="PLAIN"), f"{NAME}:{secured.login}") == []
    assert await faults(trusting, f"{NAME}:{secured.tls}") == []
    assert await faults(login, f"{NAME}:{secured.tls_login}") == []


@pytest.mark.parametrize(
    ("security", "port", "cause", "remedy"),
    [
        (
            replace(LOGIN, sasl_password=Secret("wrong-secret")),
            "login",
            Cause.PASSWORD,
            "correct kafka.sasl_username",
        ),
        (replace(LOGIN, sasl_username="nobody"), "login", Cause.PASSWORD, "user 'nobody'"),
        (
            replace(LOGIN, sasl_mechanism="PLAIN", sasl_password=Secret("wrong-secret")),
            "login",
            Cause.PASSWORD,
            "correct kafka.sasl_username",
        ),
        (
            replace(LOGIN, sasl_mechanism="SCRAM-SHA-512"),
            "login",
            Cause.MECHANISM,
            "correct kafka.sasl_mechanism",
        ),
        (
            PLAINTEXT,
            "login",
            Cause.LOGIN_WANTED,
            "PLAIN, SCRAM-SHA-256): set kafka.security_protocol to SASL_PLAINTEXT",
        ),
        (LOGIN, "plain", Cause.NO_LOGIN_WANTED, "set kafka.security_protocol to PLAINTEXT"),
        (TLS, "plain", Cause.SPEAKS_NO_TLS, "set kafka.security_protocol to PLAINTEXT"),
        (TLS, "login", Cause.SPEAKS_NO_TLS, "set kafka.security_protocol to SASL_PLAINTEXT"),
        (
            replace(LOGIN, protocol="SASL_SSL"),
            "plain",
            Cause.SPEAKS_NO_TLS,
            "set kafka.security_protocol to PLAINTEXT",
        ),
        (PLAINTEXT, "tls", Cause.SPEAKS_TLS, "set kafka.security_protocol to SSL"),
        (LOGIN, "tls_login", Cause.SPEAKS_TLS, "set kafka.security_protocol to SASL_SSL"),
        (TLS, "tls", Cause.UNTRUSTED, "correct kafka.ssl_ca_file"),
    ],
    ids=[
        "wrong password, SCRAM",
        "unknown user",
        "wrong password, PLAIN",
        "wrong mechanism",
        "no login where one is wanted",
        "a login where none is wanted",
        "TLS to a plain port",
        "TLS to a plain port with logins",
        "TLS with a login to a plain port",
        "plain to a TLS port",
        "a plain login to a TLS port",
        "an authority that isn't known",
    ],
)
async def test_each_cause_has_its_name(
    secured: Secured, security: KafkaSecurity, port: str, cause: Cause, remedy: str
) -> None:
    (fault,) = await faults(security, f"{NAME}:{getattr(secured, port)}")
    assert (fault.cause, remedy in fault.detail) == (cause, True), fault
    assert "secret" not in str(fault)


async def test_certificates_that_do_not_fit_are_named(secured: Secured) -> None:
    trusting = replace(TLS, ca_file=secured.ca_file)
    assert causes(
        await faults(replace(TLS, ca_file=secured.other_ca_file), f"{NAME}:{secured.tls}")
    ) == [Cause.UNTRUSTED]
    assert causes(await faults(trusting, f"{OTHER_NAME}:{secured.tls}")) == [Cause.OTHER_NAME]
    assert causes(await faults(trusting, f"{NAME}:{secured.mutual}")) == [Cause.OWN_CERTIFICATE]
    for client in ("expired", "stranger"):
        certificate, key = secured.client_files(client)
        own = replace(trusting, certificate_file=certificate, key_file=key)
        assert causes(await faults(own, f"{NAME}:{secured.mutual}")) == [Cause.OWN_CERTIFICATE]
    (fault,) = await faults(trusting, f"{NAME}:{secured.expired}")
    assert (fault.cause, "has expired): renew it" in fault.detail) == (Cause.UNTRUSTED, True)
    assert causes(
        await faults(replace(TLS, ca_file=secured.directory / "names"), f"{NAME}:{secured.tls}")
    ) == [Cause.TLS_FILES]
    (fault,) = await faults(trusting, f"{NAME}:{secured.tls_login}")
    assert (fault.cause, "SASL_SSL" in fault.detail) == (Cause.LOGIN_WANTED, True)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (unsigned_token(-60.0), "s ago: what writes it must renew it in time"),
        ("opaque", "its issuer, audience and scope must be those that the brokers expect"),
    ],
    ids=["expired", "of another kind"],
)
async def test_a_refused_token_is_named_and_not_used_again(
    secured: Secured, tmp_path: Path, text: str, advice: str
) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    provider = TokenProvider(TokenFile(file))
    security = KafkaSecurity(
        "SASL_SSL", "OAUTHBEARER", token_provider=provider, ca_file=secured.ca_file
    )
    (fault,) = await faults(security, f"{NAME}:{secured.tls_login}")
    assert fault.cause is Cause.TOKEN
    assert fault.detail.startswith(f"it refuses the token of sasl_oauth.token_file {file} (")
    assert "invalid_token" in fault.detail and fault.detail.endswith(advice)
    assert text not in fault.detail
    file.write_text(unsigned_token())
    assert await faults(security, f"{NAME}:{secured.tls_login}") == []


async def test_what_is_not_there_or_not_kafka_is_named_server_by_server() -> None:
    (free,) = free_ports(1)
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as web, listening(None) as silent:
        servers = (
            f"localhost:{free}",
            "no-such-host.invalid:9092",
            f"127.0.0.1:{web}",
            f"127.0.0.1:{silent}",
        )
        found = await diagnose(KafkaConnection(servers, "test", 9.0, PLAINTEXT), 2.0)
    assert [fault.server for fault in found] == list(servers)
    assert causes(found) == [
        Cause.NOBODY_LISTENS,
        Cause.UNKNOWN_NAME,
        Cause.CLOSED,
        Cause.NO_ANSWER,
    ]
    assert str(found[0]) == (
        f"localhost:{free}: nothing listens at this address: start Kafka, or correct the "
        "address and the port"
    )


async def test_a_broker_that_is_not_where_it_says_is_named(secured: Secured) -> None:
    """As in a container, whose name only its neighbours know."""
    (fault,) = await faults(PLAINTEXT, f"{NAME}:{secured.moved}")
    assert fault.cause is Cause.ADVERTISED
    assert (
        f"a broker at 127.0.0.1:{secured.nowhere}; for that address: nothing listens at this "
        "address" in fault.detail
    )
    assert "advertised.listeners" in fault.detail


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[int]:
    """A server that answers whatever comes with this and closes; None: that says nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
