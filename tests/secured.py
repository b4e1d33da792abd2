"""Kafka behind logins and TLS: one node with a port of each kind, and its own certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.sandbox.kafka import ClusterOptions, KafkaCluster, Listener, free_ports

USER, PASSWORD = "alice", "alice-secret"
PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Its certificate is for `localhost` alone.
NAME, OTHER_NAME = "localhost", "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Secured:
    """The ports, and the files of the authority that has signed the brokers' certificate."""

    plain: int
    login: int
    tls: int
    tls_login: int
    mutual: int
    moved: int
    nowhere: int
    directory: Path

    @property
    def ca_file(self) -> Path:
        """Who trusts it trusts the brokers."""
        return self.directory / "ca.pem"

    @property
    def other_ca_file(self) -> Path:
        """Who trusts it doesn't."""
        return self.directory / "other-ca.pem"


@contextmanager
def secured_kafka(directory: Path) -> Iterator[Secured]:
    """Start it, and stop it at the end."""
    _make_certificates(directory)
    keys = (("ssl.keystore.type", "PEM"), ("ssl.keystore.location", str(directory / "broker.pem")))
    trust = (("ssl.truststore.type", "PEM"), ("ssl.truststore.location", str(directory / "ca.pem")))
    logins = (
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("plain.sasl.jaas.config", PLAIN),
        ("scram-sha-256.sasl.jaas.config", SCRAM),
    )
    login, tls, tls_login, mutual, moved, nowhere = free_ports(6)
    listeners = (
        Listener("LOGIN", "SASL_PLAINTEXT", login, logins),
        Listener("TLS", "SSL", tls, keys),
        Listener("TLSLOGIN", "SASL_SSL", tls_login, (*logins, *keys)),
        Listener("MUTUAL", "SSL", mutual, (*keys, *trust, ("ssl.client.auth", "required"))),
        Listener("MOVED", "PLAINTEXT", moved, advertised_port=nowhere),
    )
    with KafkaCluster(
        ClusterOptions(listeners=listeners, scram_users=((USER, PASSWORD),))
    ) as kafka:
        yield Secured(kafka.nodes[0].port, login, tls, tls_login, mutual, moved, nowhere, directory)


def _make_certificates(directory: Path) -> None:
    for name in ("ca", "other-ca"):
        _openssl(
            directory,
            "req",
            "-x509",
            *_new_key(name),
            "-subj",
            f"/CN=test {name}",
            "-days",
            "2",
            "-out",
            f"{name}.pem",
        )
    _openssl(directory, "req", *_new_key("broker"), "-subj", f"/CN={NAME}", "-out", "broker.csr")
    (directory / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    signed = (
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-days",
        "2",
    )
    _openssl(directory, "x509", "-req", "-in", "broker.csr", *signed, "-out", "broker.crt")
    (directory / "broker.pem").write_text(
        (directory / "broker.key").read_text() + (directory / "broker.crt").read_text()
    )


def _new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60
    )
