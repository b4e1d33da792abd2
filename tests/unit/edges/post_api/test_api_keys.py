"""Keys from files: a rotated secret is used, reported, and kept out of the log.

A file without a key changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from worker.core.model.event import Event, KeyChanged
from worker.edges.kafka.client import Secret
from worker.edges.post_api.api_keys import Keys


class Watched:
    """Keys that are watched, and what came of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.learned: list[str] = []
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        path.write_text("first\n")
        keys = {1111: Secret("first"), 2222: Secret("fixed")}
        self.keys = Keys(
            keys, {1111: path}, self.learned.append, self.events.put_nowait, watch_seconds=0.01
        )

    def replace(self, data: bytes) -> None:
        """As a mounted secret changes: the name comes to stand for another file."""
        other = self.path.with_name("other")
        other.write_bytes(data)
        other.replace(self.path)

    @property
    def key(self) -> str:
        return self.keys.key(1111)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "1111")


async def test_a_new_key_is_learned_before_it_is_used_and_is_reported(watched: Watched) -> None:
    watch = asyncio.create_task(watched.keys.run())
    watched.replace(b"second\n")
    async with asyncio.timeout(10.0):
        assert await watched.events.get() == KeyChanged(1111)
    watch.cancel()
    assert (watched.key, watched.keys.key(2222)) == ("second", "fixed")
    assert watched.learned == ["second"]


async def test_a_file_rewritten_in_place_is_noticed_too(watched: Watched) -> None:
    await watched.keys.check()
    watched.path.write_text("a-longer-one")
    await watched.keys.check()
    assert watched.key == "a-longer-one"


async def test_a_key_that_was_replaced_before_the_watch_began_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "1111"
    path.write_text("second")
    learned: list[str] = []
    keys = Keys({1111: Secret("first")}, {1111: path}, learned.append, lambda _: None)
    await keys.check()
    assert (keys.key(1111), learned) == ("second", ["second"])


async def test_a_key_that_stays_the_same_is_not_reported(watched: Watched) -> None:
    for data in (b"first", b"first \t\r\n", b"first\n\n"):
        watched.replace(data)
        await watched.keys.check()
    assert (watched.key, watched.learned, watched.events.qsize()) == ("first", [], 0)


NO_KEYS = {
    "empty": b"\n",
    "two words": b"two words",
    "in quotes": b'"second"',
    "with a byte order mark": "\ufeffsecond".encode(),
    "UTF-16": "second".encode("utf-16"),
    "with an invisible character": "sec\u200bond".encode(),
    "not text": b"\xff\xff",
    "too large": b"k" * 100_000,
}


@pytest.mark.parametrize("data", NO_KEYS.values(), ids=NO_KEYS)
async def test_what_is_no_key_changes_nothing_and_is_reported_once(
    watched: Watched, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    watched.replace(data)
    for _ in range(3):
        await watched.keys.check()
    assert (watched.key, watched.learned) == ("first", [])
    assert [(one.getMessage(), vars(one)["path"]) for one in caplog.records] == [
        ("key_not_usable", str(watched.path))
    ]
    assert "second" not in str(vars(caplog.records[0]))
    watched.replace(b"second")
    await watched.keys.check()
    assert (watched.key, watched.learned) == ("second", ["second"])


async def test_what_could_not_be_used_is_read_again_though_the_file_looks_the_same(
    watched: Watched,
) -> None:
    """As with a file that isn't readable yet: permissions change no time, size or inode."""
    watched.replace(b"not yet")
    await watched.keys.check()
    before = watched.path.stat()
    watched.path.write_bytes(b"not-yet")
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (watched.path.stat().st_ino, watched.path.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    await watched.keys.check()
    assert watched.key == "not-yet"


async def test_a_file_that_is_gone_or_cannot_be_read_is_reported_once_and_read_when_it_can(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched.path.unlink()
    for _ in range(3):
        await watched.keys.check()
    watched.path.mkdir()
    for _ in range(3):
        await watched.keys.check()
    watched.path.rmdir()
    watched.path.write_text("second")
    await watched.keys.check()
    assert watched.key == "second"
    details = [(one.getMessage(), vars(one).get("detail")) for one in caplog.records]
    assert details == [
        ("key_not_read", "can't be read: No such file or directory"),
        ("key_not_read", "can't be read: Is a directory"),
        ("key_changed", None),
    ]


class CountingExecutor(ThreadPoolExecutor):
    """A pool of threads that counts what it is given."""

    submitted = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(work, *arguments, **options)


async def test_many_files_are_read_in_one_visit_to_a_thread(tmp_path: Path) -> None:
    files = {number: tmp_path / str(number) for number in range(100)}
    for file in files.values():
        file.write_text("changed-key")
    keys = Keys(dict.fromkeys(files, Secret("first")), files, lambda _: None, lambda _: None)
    with CountingExecutor() as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        await keys.check()
        assert {keys.key(number) for number in files} == {"changed-key"}
        assert executor.submitted == 1
