"""The Post API keys, one per application.

Those that come from files are watched: a rotated secret needs no restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.core.model.event import Event, KeyChanged
from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, key_in
from worker.edges.kafka.client import Secret

logger = logging.getLogger("worker.keys")

WATCH_SECONDS = 2.0

# What tells one state of a file from another. A mounted secret is a link that is turned to another
# directory: the inode.
Mark = tuple[int, int, int]


@dataclass(slots=True)
class _File:
    """A watched file: the state of it that was read to its end, and what was last logged of one
    that wasn't.

    `mark` None: none was. Nobody knows of which state the key was that came with the configuration.
    """

    path: Path
    mark: Mark | None = None
    error_detail: str | None = None


class Keys:
    """Which key each application has at present.

    Args:
        keys: as they were when the configuration was read.
        files: where those of them are kept that may change.
        learn: takes a key that has never been seen, before it is used: it must be kept out of the
            log.
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
        self._files = {application_id: _File(path) for application_id, path in files.items()}
        self._learn = learn
        self._post = post

    def key(self, application_id: int) -> str:
        """The key of this application, now."""
        return self._keys[application_id].value

    async def run(self) -> None:
        """Watch the files until cancelled."""
        while True:
            await asyncio.sleep(self._watch_seconds)
            await self.look()

    async def look(self) -> None:
        """Read each file that has changed since it was last read to its end, or never was."""
        for application_id, file in self._files.items():
            try:
                # In a thread: a file system that hangs must not hold up the loop. The mark comes
                # first: what is written after it is read the next time.
                mark = await asyncio.to_thread(_mark, file.path)
                data = await asyncio.to_thread(_read, file.path) if mark != file.mark else None
            except OSError as error:
                # Being replaced, or not ours to read yet: the key stays.
                self._note(application_id, file, "key_not_read", f"can't be read: {error.strerror}")
            else:
                self._take(application_id, file, mark, data)

    def _take(self, application_id: int, file: _File, mark: Mark, data: bytes | None) -> None:
        """Use the key in a file; `data` None: it hasn't changed. What holds no key is read again
        the next time.
        """
        found = key_in(data) if data is not None else self.key(application_id)
        if isinstance(found, Unusable):
            self._note(application_id, file, "key_not_usable", found.message)
            return
        file.mark, file.error_detail = mark, None
        if found == self.key(application_id):
            return
        self._learn(found)
        self._keys[application_id] = Secret(found)
        logger.info("key_changed", extra={"application_id": application_id})
        self._post(KeyChanged(application_id))

    def _note(self, application_id: int, file: _File, event: str, detail: str) -> None:
        """Say what is wrong with a file, once until something else is."""
        if detail != file.error_detail:
            file.error_detail = detail
            logger.warning(
                event,
                extra={"application_id": application_id, "path": str(file.path), "detail": detail},
            )


def _mark(path: Path) -> Mark:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SECRET_BYTES_MAX + 1)
