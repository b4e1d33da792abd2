"""Keys from files: a rotated secret is used, told of, and kept out of the log; what isn't a key changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from worker.edges.kafka_client import Secret
from worker.edges.keys import Keys
from worker.model.event import Event, KeyChanged


class Watched:
    """Keys that are watched, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.learned: list[str] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        path.write_text("first\n")
        keys = {1111: Secret("first"), 2222: Secret("fixed")}
        self.keys = Keys(keys, {1111: path}, self.learned.append, self.events.put_nowait, watch_seconds=0.01)

    def replace(self, text: str) -> None:
        """As a mounted secret changes: the name comes to stand for another file."""
        other = self.path.with_name("other")
        other.write_text(text)
        other.replace(self.path)

    async def next(self) -> Event:
        async with asyncio.timeout(10.0):
            return await self.events.get()


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "1111")
    task = asyncio.create_task(watched.keys.run())
    yield watched
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_new_key_is_learned_before_it_is_used_and_told_of(watched: Watched) -> None:
    assert watched.keys.key(1111) == "first"
    watched.replace("second\n")
    assert await watched.next() == KeyChanged(1111)
    assert (watched.keys.key(1111), watched.keys.key(2222)) == ("second", "fixed")
    assert watched.learned == ["second"]


async def test_a_file_rewritten_in_place_is_noticed_too(watched: Watched) -> None:
    watched.path.write_text("a-longer-one")
    assert await watched.next() == KeyChanged(1111)


@pytest.mark.parametrize("text", ["", "two words", "first\n"], ids=["empty", "no key", "the same"])
async def test_what_is_no_new_key_changes_nothing(watched: Watched, text: str) -> None:
    watched.replace(text)
    watched.path.unlink()
    watched.replace("second")
    await watched.next()
    assert watched.learned == ["second"]


async def test_bytes_that_are_no_text_change_nothing(watched: Watched) -> None:
    watched.path.write_bytes(b"\xff\xff")
    watched.replace("second")
    await watched.next()
    assert watched.keys.key(1111) == "second"
