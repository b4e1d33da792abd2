"""Tokens: for how long one is used, and what is said where there is none."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.secured import unsigned_token
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.diagnosis import diagnose
from worker.edges.kafka.token_sources import TokenEndpoint, TokenFile
from worker.edges.kafka.tokens import (
    FETCH_SECONDS_MAX,
    REUSE_SECONDS,
    TOKEN_BYTES_MAX,
    Token,
    TokenNotObtainedError,
    TokenProvider,
    reuse_seconds,
)


class Counting:
    """A source that numbers its tokens."""

    def __init__(self, reuse_seconds: float) -> None:
        self.count = 0
        self._reuse_seconds = reuse_seconds

    def __str__(self) -> str:
        return "a source"

    async def fetch(self) -> Token:
        self.count += 1
        await asyncio.sleep(0)
        return Token(f"token-{self.count}", self._reuse_seconds)


async def test_connections_of_the_same_time_share_a_token() -> None:
    provider = TokenProvider(Counting(3600.0))
    tokens = await asyncio.gather(*(provider.token() for _ in range(5)))
    assert tokens == ["token-1"] * 5


async def test_a_token_is_not_used_beyond_its_time() -> None:
    provider = TokenProvider(Counting(0.0))
    assert [await provider.token() for _ in range(3)] == ["token-1", "token-2", "token-3"]


async def test_a_refused_token_is_not_used_again() -> None:
    provider = TokenProvider(Counting(3600.0))
    await provider.token()
    provider.note_refusal()
    assert await provider.token() == "token-2"


async def test_a_source_that_is_silent_is_an_error_like_brokers_that_are_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Silent(Counting):
        async def fetch(self) -> Token:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr("worker.edges.kafka.tokens.FETCH_SECONDS_MAX", 0.01)
    with pytest.raises(TokenNotObtainedError, match="a source gives no token within") as caught:
        await TokenProvider(Silent(0.0)).token()
    assert caught.value.retriable
    assert FETCH_SECONDS_MAX == 10.0


def test_four_fifths_of_a_lifetime_are_used() -> None:
    token = unsigned_token(300.0)
    assert 230 < reuse_seconds(token) <= 240
    # What the endpoint says counts more.
    assert reuse_seconds(token, 100.0) == 80.0
    for opaque in ("opaque", "a.b.c", "a.e30.c", "a.bm8.c"):
        assert reuse_seconds(opaque) == REUSE_SECONDS


async def test_a_file_is_read_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    provider = TokenProvider(TokenFile(file))
    file.write_text("first\n")
    assert await provider.token() == "first"
    file.write_text(" second ")
    assert await provider.token() == "second"


async def test_a_file_is_not_read_on_the_event_loop(tmp_path: Path) -> None:
    class Noting(type(tmp_path)):  # type: ignore[misc]
        def open(self, *arguments: Any, **options: Any) -> Any:
            readers.append(threading.current_thread())
            return super().open(*arguments, **options)

    readers: list[threading.Thread] = []
    file = Noting(tmp_path / "token")
    file.write_text("first")
    readers.clear()
    assert (await TokenFile(file).fetch()).text == "first"
    assert readers and threading.current_thread() not in readers


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\n", "holds nothing instead of a token"),
        (b"a token", "holds text that is no token"),
        (b'"quoted"', "holds text that is no token"),
        (b"a\x01auth=b", "holds text that is no token"),
        (b"\xff\xfe", "holds text that is no token"),
        (b"x" * (TOKEN_BYTES_MAX + 1), "holds more than 65,536 bytes"),
    ],
    ids=["missing", "empty", "two words", "quoted", "control character", "binary", "endless"],
)
async def test_a_file_of_no_token_is_named(tmp_path: Path, data: bytes | None, fault: str) -> None:
    file = tmp_path / "token"
    if data is not None:
        file.write_bytes(data)
    security = KafkaSecurity(
        "SASL_PLAINTEXT", "OAUTHBEARER", token_provider=TokenProvider(TokenFile(file))
    )
    connection = KafkaConnection(("127.0.0.1:1", "127.0.0.1:2"), "test", 1.0, security)
    found = await diagnose(connection)
    # Each broker would need it: none is asked.
    assert [one.server for one in found] == list(connection.bootstrap_servers)
    assert {one.detail for one in found} == {found[0].detail}
    assert found[0].detail.startswith(f"sasl_oauth.token_file {file} {fault}")


async def test_a_folder_is_no_token(tmp_path: Path) -> None:
    with pytest.raises(TokenNotObtainedError, match="is not a file: set the path of the file"):
        await TokenFile(tmp_path).fetch()


async def test_no_token_and_no_secret_shows(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hidden")
    provider = TokenProvider(TokenFile(file))
    await provider.token()
    endpoint = TokenEndpoint("https://a/token", "me", "hidden")
    security = KafkaSecurity("SASL_SSL", "OAUTHBEARER", token_provider=provider)
    shown = (Token("hidden", 1.0), provider, vars(provider), endpoint, str(endpoint), security)
    assert "hidden" not in repr(shown)
    assert security.token_provider is provider
