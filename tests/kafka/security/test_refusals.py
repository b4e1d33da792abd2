"""A login that can't succeed: one clear line for each attempt, no stack, no secret, and a retry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.kafka.cli.commands import configuration
from tests.kafka.security import logins
from tests.kafka.security.logins import Settings
from tests.secured import GROUP, NAME, OTHER_NAME, PASSWORD, TOPIC, Secured, unsigned_token
from tests.source_reader import EVENT_SECONDS_MAX, SourceReader, reading
from worker.daemon.kafka_options import kafka_connection
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.topics import Operation
from worker.sandbox.topics import create_topics, publish
from worker.settings.load import load

WRONG = "a-wrong-secret"
# The beginning of every JSON Web Token.
SECRETS = (PASSWORD, WRONG, logins.CLIENT_SECRET, "eyJ")
NOT_THE_USER = "it refuses the login of user 'alice' by {}: correct kafka.sasl_username"
OWN_CERTIFICATE = "it refuses the client certificate, or requires one ("

CASES: dict[str, tuple[Callable[[Secured], Settings], str]] = {
    "an authority that isn't known": (
        lambda kafka: logins.tls(kafka) | {"ssl_ca_file": str(kafka.other_ca_file)},
        "its certificate isn't trusted (unable to get local issuer certificate): correct "
        "kafka.ssl_ca_file",
    ),
    "an expired certificate": (
        lambda kafka: logins.tls(kafka) | {"bootstrap_servers": f"{NAME}:{kafka.expired}"},
        "its certificate isn't trusted (certificate has expired): renew it",
    ),
    "another host's certificate": (
        lambda kafka: logins.tls(kafka) | {"bootstrap_servers": f"{OTHER_NAME}:{kafka.tls}"},
        "its certificate is for another name (",
    ),
    "no client certificate": (
        lambda kafka: logins.tls(kafka) | {"bootstrap_servers": f"{NAME}:{kafka.mutual}"},
        OWN_CERTIFICATE,
    ),
    "an expired client certificate": (
        lambda kafka: logins.mutual(kafka, "expired"),
        OWN_CERTIFICATE,
    ),
    "a client certificate of another authority": (
        lambda kafka: logins.mutual(kafka, "stranger"),
        OWN_CERTIFICATE,
    ),
    "a wrong password, PLAIN": (
        lambda kafka: logins.login(kafka, "PLAIN", WRONG),
        NOT_THE_USER.format("PLAIN"),
    ),
    "a wrong password, SCRAM-SHA-256": (
        lambda kafka: logins.login(kafka, "SCRAM-SHA-256", WRONG),
        NOT_THE_USER.format("SCRAM-SHA-256"),
    ),
    "a wrong password, SCRAM-SHA-512": (
        lambda kafka: logins.login(kafka, "SCRAM-SHA-512", WRONG),
        NOT_THE_USER.format("SCRAM-SHA-512"),
    ),
    "an unknown user": (
        lambda kafka: logins.login(kafka, "SCRAM-SHA-512") | {"sasl_username": "nobody"},
        "it refuses the login of user 'nobody' by SCRAM-SHA-512",
    ),
    "no token file": (
        lambda kafka: logins.token(kafka, token_file="/no/such"),
        "sasl_oauth.token_file /no/such can't be read: No such file or directory",
    ),
    "an expired token": (
        lambda kafka: logins.token(
            kafka, token_command=logins.token_command(unsigned_token(-60.0))
        ),
        "it refuses the token of sasl_oauth.token_command",
    ),
    "a command that fails": (
        lambda kafka: logins.token(
            kafka, token_command=["sh", "-c", "echo no credentials >&2; exit 3"]
        ),
        "sasl_oauth.token_command sh ends with 3: no credentials",
    ),
}


class Lines(logging.Handler):
    """All records from warnings up, of the worker and of libraries."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: asyncio.Queue[logging.LogRecord] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.put_nowait(record)


def _connection(settings: Settings, directory: Path) -> KafkaConnection:
    document = configuration("", "refusals")
    document["kafka"] |= settings
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return kafka_connection(load(file, {}, None, {}).settings, "test")


async def _first_detail() -> str:
    """The detail of the first attempt to join. Every line is checked for stacks and secrets."""
    lines, root = Lines(), logging.getLogger()
    root.addHandler(lines)
    try:
        async with asyncio.timeout(EVENT_SECONDS_MAX):
            while True:
                record = await lines.records.get()
                shown = f"{record.getMessage()} {vars(record)}"
                assert record.exc_info is None
                assert [secret for secret in SECRETS if secret in shown] == []
                if record.getMessage() == "kafka_not_reached":
                    return str(vars(record)["detail"])
    finally:
        root.removeHandler(lines)


@pytest.mark.parametrize(
    ("settings", "detail"), CASES.values(), ids=[name.replace(" ", "-") for name in CASES]
)
async def test_an_attempt_says_in_one_line_what_is_wrong(
    secured: Secured, tmp_path: Path, settings: Callable[[Secured], Settings], detail: str
) -> None:
    given = settings(secured)
    async with reading(SourceReader(_connection(given, tmp_path), "refusals")):
        found = await _first_detail()
    assert found.startswith(f"{given['bootstrap_servers']}: {detail}")
    assert "\n" not in found


async def test_a_client_that_the_token_endpoint_refuses_is_named(
    secured: Secured, tmp_path: Path
) -> None:
    async with logins.token_endpoint() as endpoint:
        settings = logins.token(secured, **logins.client(endpoint, WRONG))
        async with reading(SourceReader(_connection(settings, tmp_path), "refusals")):
            found = await _first_detail()
    assert found == (
        f"{settings['bootstrap_servers']}: sasl_oauth.token_endpoint {endpoint} answers HTTP 401 "
        "(invalid_client): correct sasl_oauth.client_id, client_secret or scope"
    )


async def test_a_worker_goes_on_by_itself_once_the_login_is_right(
    secured: Secured, new_topic: Callable[[str], str], tmp_path: Path
) -> None:
    topic, file = new_topic("healed"), tmp_path / "token"
    await create_topics(secured.bootstrap_servers, {topic: 1})
    await secured.allow(TOPIC, topic, Operation.READ)
    await secured.allow(GROUP, topic, Operation.READ)
    await publish(secured.bootstrap_servers, topic, [(b"key", b"value")])
    connection = _connection(logins.token(secured, token_file=str(file)), tmp_path)
    async with reading(SourceReader(connection, topic)) as reader:
        assert "No such file or directory" in await _first_detail()
        file.write_text(unsigned_token())
        assert sum(map(len, (await reader.records(1)).values())) == 1
