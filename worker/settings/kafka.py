"""The section `kafka`: the brokers, their security, the group, and how to consume."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from worker.settings.sasl_oauth import Password, SaslOauth
from worker.settings.section import PlainText, Seconds, Section, agreed
from worker.tls_files import TlsFiles

PORT_MAX = 65_535
# Sizes of fetches are signed 32-bit numbers in Kafka's protocol.
FETCH_BYTES_LIMIT = 2_147_483_647
_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@]+)(?::(?P<port>[0-9]{1,5}))?")


def _servers(value: object) -> object:
    return (
        [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, str)
        else value
    )


def _server(value: str) -> str:
    match = _SERVER.fullmatch(value)
    if match is None or not 1 <= int(match["port"] or 1) <= PORT_MAX:
        raise ValueError("must be host:port, as in kafka-1:9092 or [::1]:9092")
    return value


Servers = Annotated[
    tuple[Annotated[str, AfterValidator(_server)], ...],
    PlainText,
    BeforeValidator(_servers, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]

_RISING = (
    "drain_on_revoke_seconds",
    "rebalance_timeout_seconds",
    "request_timeout_seconds",
    "session_timeout_seconds",
)
_SASL = ("sasl_mechanism", "sasl_username", "sasl_password", "sasl_oauth")
_SSL = ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file", "ssl_key_password")


class Kafka(Section):
    """The brokers, the group, and how to consume."""

    bootstrap_servers: Servers = Field(
        default=("localhost:9092",),
        description="Bootstrap brokers, host:port: a list, or separated by commas",
    )
    group_id: str = Field(
        default="appmetrica-worker", min_length=1, description="The consumer group"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="Protocol of the connections to the brokers"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = (
        Field(default=None, description="SASL mechanism; required with a SASL protocol")
    )
    sasl_username: str | None = Field(default=None, min_length=1, description="SASL user name")
    sasl_password: Password | None = Field(default=None, description="SASL password")
    sasl_password_file: Path | None = Field(
        default=None, description="File that holds the SASL password; replaces sasl_password"
    )
    sasl_oauth: SaslOauth | None = Field(
        default=None, description="Where tokens come from; required with OAUTHBEARER"
    )
    ssl_ca_file: Path | None = Field(
        default=None,
        description="File of trusted CA certificates (PEM); null: the certificates of the system",
    )
    ssl_certificate_file: Path | None = Field(
        default=None, description="File of the client certificate (PEM)"
    )
    ssl_key_file: Path | None = Field(
        default=None, description="File of the client's private key (PEM)"
    )
    ssl_key_password: Password | None = Field(
        default=None, description="Password of the private key"
    )
    ssl_key_password_file: Path | None = Field(
        default=None,
        description="File that holds the password of the private key; replaces ssl_key_password",
    )
    initial_offset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description=(
            "Where the group starts to read at its very first start; not used by later starts"
        ),
    )
    session_timeout_seconds: Seconds = Field(
        default=45, description="Time without a heartbeat after which the group removes a member"
    )
    heartbeat_interval_seconds: Seconds = Field(
        default=3, description="Interval between heartbeats"
    )
    request_timeout_seconds: Seconds = Field(
        default=40, description="Time-out of a request to a broker"
    )
    rebalance_timeout_seconds: Seconds = Field(
        default=30, description="How long a rebalance waits for each member"
    )
    drain_on_revoke_seconds: Seconds = Field(
        default=10, description="Maximum duration of the drain of revoked partitions"
    )
    commit_interval_seconds: Seconds = Field(
        default=1.0, description="Interval between commits; a drain also commits"
    )
    commit_timeout_seconds: Seconds = Field(default=10, description="Time-out of a commit")
    poll_records_max: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Maximum number of records taken from a partition at once",
    )
    partition_fetch_bytes_max: int = Field(
        default=1_048_576,
        ge=1024,
        le=FETCH_BYTES_LIMIT,
        description=(
            "Maximum bytes per partition in a fetch, compressed; at most 1/512 of "
            "limits.memory_bytes_max"
        ),
    )
    fetch_bytes_max: int = Field(
        default=16_777_216,
        ge=1024,
        le=FETCH_BYTES_LIMIT,
        description=(
            "Maximum bytes in a fetch from a broker, compressed; at most 1/32 of "
            "limits.memory_bytes_max"
        ),
    )
    batch_bytes_max: int = Field(
        default=67_108_864,
        ge=1_048_576,
        le=FETCH_BYTES_LIMIT,
        description=(
            "Maximum bytes of a decompressed record batch; at most a quarter of "
            "limits.memory_bytes_max"
        ),
    )
    on_corrupt: Literal["stop", "skip"] = Field(
        default="stop",
        description=(
            "What to do with a record that can't be read: stop its partition, or skip "
            "and count the record"
        ),
    )
    stall_seconds: Seconds = Field(
        default=60, description="A consumer that fetches nothing for this time is replaced"
    )

    def tls_files(self) -> TlsFiles | None:
        """The files of TLS and the key's password; None: TLS isn't used."""
        if not self.security_protocol.endswith("SSL"):
            return None
        password = self.ssl_key_password
        return TlsFiles(
            self.ssl_ca_file,
            self.ssl_certificate_file,
            self.ssl_key_file,
            password.get_secret_value() if password is not None else None,
        )

    @model_validator(mode="after")
    def _agree(self) -> Kafka:
        return agreed(self, self._faults_of_times() + self._faults_of_security())

    def _faults_of_times(self) -> list[str]:
        faults = [
            f"{lower} ({getattr(self, lower):g}) must be less than {upper} "
            f"({getattr(self, upper):g})"
            for lower, upper in pairwise(_RISING)
            if getattr(self, lower) >= getattr(self, upper)
        ]
        if self.heartbeat_interval_seconds * 3 > self.session_timeout_seconds:
            faults.append(
                "heartbeat_interval_seconds must be at most a third of session_timeout_seconds"
            )
        if (
            self.drain_on_revoke_seconds + self.commit_timeout_seconds
            > self.rebalance_timeout_seconds
        ):
            faults.append(
                "drain_on_revoke_seconds and commit_timeout_seconds together must be at most "
                "rebalance_timeout_seconds"
            )
        return faults

    def _faults_of_security(self) -> list[str]:
        """The faults of the security settings.

        A login or a certificate that isn't used is a fault: its owner believes the connection is
        safe.
        """
        protocol = self.security_protocol
        faults = []
        for names, is_used in (
            (_SASL, protocol.startswith("SASL_")),
            (_SSL, protocol.endswith("SSL")),
        ):
            if not is_used:
                given = [name for name in names if getattr(self, name) is not None]
                faults += [
                    f"{name} has no effect with security_protocol {protocol}" for name in given
                ]
            elif names is _SASL:
                faults += self._faults_of_login()
        return faults + self._faults_of_certificate()

    def _faults_of_login(self) -> list[str]:
        """The faults of the SASL settings, with a SASL protocol."""
        mechanism = self.sasl_mechanism
        if mechanism is None:
            needed: tuple[str, ...] = ("sasl_mechanism", "sasl_username", "sasl_password")
            # A token says by itself which mechanism is meant.
            needed = needed if self.sasl_oauth is None else needed[:1]
            return [
                f"{name} is required with security_protocol {self.security_protocol}"
                for name in needed
                if getattr(self, name) is None
            ]
        needed = (
            ("sasl_oauth",) if mechanism == "OAUTHBEARER" else ("sasl_username", "sasl_password")
        )
        return [
            f"{name} is required with sasl_mechanism {mechanism}"
            for name in needed
            if getattr(self, name) is None
        ] + [
            f"{name} has no effect with sasl_mechanism {mechanism}"
            for name in _SASL[1:]
            if name not in needed and getattr(self, name) is not None
        ]

    def _faults_of_certificate(self) -> list[str]:
        faults = []
        if self.ssl_certificate_file is None:
            without = [
                name
                for name in ("ssl_key_file", "ssl_key_password")
                if getattr(self, name) is not None
            ]
            faults += [f"{name} requires ssl_certificate_file" for name in without]
        return faults
