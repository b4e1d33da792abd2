"""How every Kafka client of this process connects."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, KafkaTimeoutError

from worker.edges.kafka.aiokafka_internals.closing import (
    close_producer,
)
from worker.edges.kafka.aiokafka_internals.connection import close_cancelled_bootstraps
from worker.edges.kafka.tokens import TokenProvider
from worker.tls_files import TlsFiles, TlsFilesError, tls_context

# Added to the time for a request: so the client's own error comes first, which says more.
GRACE_SECONDS = 5.0
STOP_SECONDS_MAX = 5.0


class TlsNotUsableError(KafkaError):
    """A file of TLS can't be used now, perhaps because it is being replaced. Try again later."""

    retriable = True

    def __str__(self) -> str:
        return RuntimeError.__str__(self)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """The brokers and how to reach them. `repr` shows no secret."""

    bootstrap_servers: tuple[str, ...]
    client_id: str
    request_timeout_seconds: float
    security: KafkaSecurity

    def capped(self, seconds_max: float) -> KafkaConnection:
        """Return the same connection, with at most this time for a request."""
        return replace(self, request_timeout_seconds=min(self.request_timeout_seconds, seconds_max))

    def consumer(self, **options: Any) -> AIOKafkaConsumer:
        """Return a consumer, not yet started.

        Raises:
            TlsNotUsableError: a file of TLS can't be used now; so for the other clients.
        """
        return AIOKafkaConsumer(**self.arguments(), **options)

    def producer(self, **options: Any) -> AIOKafkaProducer:
        """Return a producer, not yet started."""
        return AIOKafkaProducer(**self.arguments(), **options)

    async def started_producer(self, **options: Any) -> AIOKafkaProducer:
        """Return a producer that has been started.

        aiokafka's own start waits for ever where the brokers have moved to other addresses before
        it has got its producer id.

        Raises:
            KafkaError: the brokers cannot be reached, or do not answer in the time for a request.
        """
        producer = self.producer(**options)
        seconds_max = self.request_timeout_seconds + GRACE_SECONDS
        try:
            async with asyncio.timeout(seconds_max):
                await producer.start()
        except BaseException as error:
            await close_producer(producer, STOP_SECONDS_MAX)
            if isinstance(error, TimeoutError):
                raise KafkaTimeoutError(
                    f"no producer could be started within {seconds_max:g} s"
                ) from error
            raise
        return producer

    def client(self) -> AIOKafkaClient:
        """Return a client for single requests to single brokers, not yet connected."""
        return AIOKafkaClient(**self.arguments())

    def admin(self) -> AIOKafkaAdminClient:
        """Return an admin client, not yet started."""
        return AIOKafkaAdminClient(**self.arguments())

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that all clients of aiokafka share. Reads the files of TLS.

        Raises:
            TlsNotUsableError: a file of TLS can't be used now.
        """
        close_cancelled_bootstraps()
        return {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": self.client_id,
            "request_timeout_ms": round(self.request_timeout_seconds * 1000),
            **self.security.arguments(),
        }


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """TLS and SASL. `token_provider` is for OAUTHBEARER: all clients share it."""

    protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: Secret | None = None
    token_provider: TokenProvider | None = field(default=None, compare=False)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of aiokafka for TLS and SASL."""
        arguments: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol in ("SSL", "SASL_SSL"):
            password = self.key_password.value if self.key_password is not None else None
            try:
                arguments["ssl_context"] = tls_context(
                    TlsFiles(self.ca_file, self.certificate_file, self.key_file, password)
                )
            except TlsFilesError as error:
                raise TlsNotUsableError(f"{error.setting}: {error}") from None
        if self.protocol.startswith("SASL_"):
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = (
                self.sasl_password.value if self.sasl_password is not None else None
            )
            arguments["sasl_oauth_token_provider"] = self.token_provider
        return arguments


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that must not be shown."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"
