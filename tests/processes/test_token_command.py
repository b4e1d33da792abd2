"""A program that writes a token: what it gets, and what is said where it writes none."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from worker.daemon.kafka_options import kafka_connection
from worker.edges.kafka.token_sources import TokenCommand
from worker.edges.kafka.tokens import TokenNotObtainedError, TokenProvider
from worker.settings.load import load

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def shell(text: str) -> TokenCommand:
    return TokenCommand(("sh", "-c", text), ENVIRONMENT)


async def test_its_output_is_the_token() -> None:
    assert (await shell("echo a-token; echo warning >&2").fetch()).text == "a-token"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("exit 3", "sasl_oauth.token_command sh ends with 3"),
        (
            "printf '\\n no \\033[31mcredentials\\nmore' >&2; exit 1",
            "sasl_oauth.token_command sh ends with 1: no \\x1b[31mcredentials",
        ),
        ("kill -9 $$", "sasl_oauth.token_command sh ends with -9"),
        (":", "sasl_oauth.token_command sh writes nothing instead of a token"),
        ("echo \"('a-token', 1)\"", "sasl_oauth.token_command sh writes text that is no token"),
        ("yes | head -c 9000000", "sasl_oauth.token_command sh writes more than 65,536 bytes"),
    ],
    ids=["exit", "complaint", "killed", "nothing", "tuple", "flood"],
)
async def test_no_token_is_an_error_of_one_line(text: str, fault: str) -> None:
    with pytest.raises(TokenNotObtainedError) as caught:
        await shell(text).fetch()
    assert str(caught.value).startswith(fault)
    assert "\n" not in str(caught.value) and "a-token" not in str(caught.value)


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TokenNotObtainedError) as caught:
        await TokenCommand(("/no/such",), ENVIRONMENT).fetch()
    assert str(caught.value) == (
        "sasl_oauth.token_command /no/such can't be run: No such file or directory"
    )


async def test_a_program_that_hangs_ends_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setattr("worker.edges.kafka.tokens.FETCH_SECONDS_MAX", 1.0)
    # The child of the child keeps the other end open while it lives.
    provider = TokenProvider(shell(f"sh -c 'exec 3>{fifo}; sleep 600; :' & wait"))
    reading = asyncio.create_task(asyncio.to_thread(fifo.read_bytes))
    with pytest.raises(TokenNotObtainedError, match="gives no token within 1 s"):
        await provider.token()
    async with asyncio.timeout(60):
        assert await reading == b""


async def test_it_gets_no_variable_of_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"
    monkeypatch.setenv(key, "hidden")
    monkeypatch.setenv("TOKEN_OF_A_TEST", "a-token")
    code = (
        "from os import environ; "
        "print(environ['TOKEN_OF_A_TEST'] + '-'.join(name for name in environ if 'AMW' in name))"
    )
    file = tmp_path / "config.yaml"
    file.write_text(
        "kafka: {security_protocol: SASL_PLAINTEXT, sasl_mechanism: OAUTHBEARER, sasl_oauth: "
        f'{{token_command: [{sys.executable}, -c, "{code}"]}}}}'
    )
    connection = kafka_connection(load(file, {key: "hidden"}, None, {}).settings, "test")
    assert connection.security.token_provider is not None
    assert await connection.security.token_provider.token() == "a-token"
