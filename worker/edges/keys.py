"""The Post API keys, one per application. Those that come from files are watched: a rotated secret needs no restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.edges.kafka_client import Secret
from worker.model.event import Event, KeyChanged

logger = logging.getLogger("worker.keys")

WATCH_SECONDS = 2.0
KEY_BYTES_MAX = 64 * 1024

# What tells one state of a file from another. A mounted secret is a link that is turned to another directory: the inode.
Mark = tuple[int, int, int]


@dataclass(slots=True)
class _File:
    path: Path
    mark: Mark | None


class Keys:
    """Which key each application has at present.

    Args:
        keys: as they were when the configuration was read.
        files: where those of them are kept that may change.
        learn: takes a key that has never been seen, before it is used: it must be kept out of the log.
        post: takes `KeyChanged`.
        watch_seconds: how often the files are looked at.
    """

    def __init__(
        self,
        keys: Mapping[int, Secret],
        files: Mapping[int, Path],
        learn: Callable[[str], None],
        post: Callable[[Event], None],
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._watch_seconds = watch_seconds
        self._keys = dict(keys)
        self._files = {application_id: _File(path, _mark(path)) for application_id, path in files.items()}
        self._learn = learn
        self._post = post

    def key(self, application_id: int) -> str:
        """The key of this application, now."""
        return self._keys[application_id].value

    async def run(self) -> None:
        """Watch the files until cancelled."""
        while True:
            await asyncio.sleep(self._watch_seconds)
            for application_id, file in self._files.items():
                # In a thread: a file system that hangs must not hold up the loop.
                mark = await asyncio.to_thread(_mark, file.path)
                if mark is not None and mark != file.mark:
                    file.mark = mark
                    await self._reload(application_id, file.path)

    async def _reload(self, application_id: int, path: Path) -> None:
        try:
            text = (await asyncio.to_thread(_read, path)).strip()
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("key_not_read", extra={"application_id": application_id, "detail": type(error).__name__})
            return
        if not text or any(character.isspace() for character in text):
            logger.warning("key_not_usable", extra={"application_id": application_id, "path": str(path)})
            return
        if text == self._keys[application_id].value:
            return
        self._learn(text)
        self._keys[application_id] = Secret(text)
        logger.info("key_changed", extra={"application_id": application_id})
        self._post(KeyChanged(application_id))


def _mark(path: Path) -> Mark | None:
    try:
        status = path.stat()
    except OSError:
        # Gone for a moment, while it is being replaced: the key stays.
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(KEY_BYTES_MAX).decode()
