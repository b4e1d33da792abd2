"""Kafka behind logins, TLS and access rules: one node with a port of each kind.

Certificates are made for it. Who comes without a login may do everything; the user may do what its
rules allow, whether it comes with a password, a token or a certificate.
"""

from __future__ import annotations

import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from worker.edges.kafka.topics import Operation
from worker.sandbox.kafka import ClusterOptions, KafkaCluster, Listener, free_ports

USER, PASSWORD = "alice", "alice-secret"
PLAIN = (
    f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
)
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Tokens are checked for their claims, and not for a signature.
TOKENS = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker";'
)
MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
# Of Kafka's protocol: resources of access rules, the pattern of their names, and the permission.
TOPIC, GROUP = 2, 3
LITERAL, PREFIXED, ALLOW = 3, 4, 3
# How long a connection with a token lasts: the broker ends it then.
SESSION_MILLISECONDS = 3000
AUTHORIZER = (
    ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
    ("super.users", "User:ANONYMOUS"),
)
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
    expired: int
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

    @property
    def bootstrap_servers(self) -> str:
        """The port for whom may do everything."""
        return f"{OTHER_NAME}:{self.plain}"

    async def allow(
        self, resource: int, name: str, *operations: Operation, pattern: int = LITERAL
    ) -> None:
        """Add a rule that allows the user these operations on a topic or a group."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            for operation in operations:
                rule = (resource, name, pattern, f"User:{USER}", "*", operation.value, ALLOW)
                answer = cast(Any, await admin._send_to_controller(CreateAclsRequest(*rule)))
                assert [one[0] for one in answer.creation_responses] == [0], answer
        finally:
            await admin.close()

    def client_files(self, name: str = USER) -> tuple[Path, Path]:
        """A client's certificate and key: the user's, or those of `expired` or `stranger`."""
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"


def unsigned_token(lifetime_seconds: float = 300.0, user: str = USER) -> str:
    """A JSON Web Token without a signature."""
    now = time.time()
    claims = {"sub": user, "iat": now - 3600, "exp": now + lifetime_seconds}
    parts = [orjson.dumps(one) for one in ({"alg": "none"}, claims)]
    return ".".join([*(urlsafe_b64encode(one).decode().rstrip("=") for one in parts), ""])


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
    every_login = (
        *logins[1:],
        ("sasl.enabled.mechanisms", MECHANISMS),
        ("scram-sha-512.sasl.jaas.config", SCRAM),
        ("oauthbearer.sasl.jaas.config", TOKENS),
        ("oauthbearer.connections.max.reauth.ms", str(SESSION_MILLISECONDS)),
    )
    expired_key = (keys[0], ("ssl.keystore.location", str(directory / "late-broker.pem")))
    client = (
        *trust,
        ("ssl.client.auth", "required"),
        ("ssl.principal.mapping.rules", "RULE:^CN=(.*)$/$1/"),
    )
    login, tls, tls_login, mutual, expired, moved, nowhere = free_ports(7)
    listeners = (
        Listener("LOGIN", "SASL_PLAINTEXT", login, logins),
        Listener("TLS", "SSL", tls, keys, host=NAME),
        Listener("TLSLOGIN", "SASL_SSL", tls_login, (*every_login, *keys), host=NAME),
        Listener("MUTUAL", "SSL", mutual, (*keys, *client), host=NAME),
        Listener("EXPIRED", "SSL", expired, expired_key),
        Listener("MOVED", "PLAINTEXT", moved, advertised_port=nowhere),
    )
    with KafkaCluster(
        ClusterOptions(listeners=listeners, scram_users=((USER, PASSWORD),), properties=AUTHORIZER)
    ) as kafka:
        plain = kafka.nodes[0].port
        yield Secured(plain, login, tls, tls_login, mutual, expired, moved, nowhere, directory)


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
    (directory / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
    _sign(directory, "broker", NAME)
    _sign(directory, "late-broker", NAME, days=0)
    _sign(directory, USER, USER)
    _sign(directory, "expired", USER, days=0)
    _sign(directory, "stranger", USER, ca="other-ca")
    for name in ("broker", "late-broker"):
        (directory / f"{name}.pem").write_text(
            (directory / f"{name}.key").read_text() + (directory / f"{name}.crt").read_text()
        )


def _sign(directory: Path, name: str, subject: str, *, days: int = 2, ca: str = "ca") -> None:
    """Make a key, and a certificate that is valid for these days from now."""
    _openssl(directory, "req", *_new_key(name), "-subj", f"/CN={subject}", "-out", f"{name}.csr")
    signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial")
    more = ("-extfile", "names", "-days", str(days))
    _openssl(directory, "x509", "-req", "-in", f"{name}.csr", *signed, *more, "-out", f"{name}.crt")


def _new_key(name: str) -> tuple[str, ...]:
    return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key")


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60
    )
