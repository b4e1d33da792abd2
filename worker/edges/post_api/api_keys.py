"""The Post API keys, one per application.

Keys in files are watched: a rotated secret needs no restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.core.model.event import Event, KeyChanged
from worker.core.model.secret_text import Unusable, key_in
from worker.edges.kafka.client import Secret
from worker.edges.watched_file import WATCH_SECONDS, Mark, mark_of, secret_bytes

logger = logging.getLogger("worker.keys")


@dataclass(slots=True)
class _File:
    """A watched file.

    `mark` is the state that was read to its end; None: no state was, and the state of the key from
    the configuration is not known. `error_detail` is what was last logged about a failure.
    """

    path: Path
    mark: Mark | None = None
    error_detail: str | None = None


class Keys:
    """The current key of each application.

    Args:
        keys: the keys from the configuration.
        files: the files of the keys that may change.
        learn: takes a new key before it is used, to keep it out of the log.
        post: takes `KeyChanged`.
        watch_seconds: how often the files are read.
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
        """Return the current key of this application."""
        return self._keys[application_id].value

    @property
    def unusable_files(self) -> list[int]:
        """The applications whose key file can't be read or holds no key."""
        return [number for number, file in self._files.items() if file.error_detail is not None]

    async def run(self) -> None:
        """Watch the files until cancelled."""
        while True:
            await asyncio.sleep(self._watch_seconds)
            await self.check()

    async def check(self) -> None:
        """Read each file that has changed since it was last read to its end.

        One thread reads them all: a visit to a thread for each of a thousand files would take 55 ms
        of CPU every two seconds.
        """
        for application_id, found in (await asyncio.to_thread(self._look)).items():
            file = self._files[application_id]
            if isinstance(found, OSError):
                # Being replaced, or not readable yet: the key stays.
                self._note(application_id, file, "key_not_read", f"can't be read: {found.strerror}")
            else:
                self._take(application_id, file, *found)

    def _look(self) -> dict[int, tuple[Mark, bytes | None] | OSError]:
        """Return for each file its state, and its bytes if it has changed; or why it can't be read.

        For a thread.
        """
        found: dict[int, tuple[Mark, bytes | None] | OSError] = {}
        for application_id, file in self._files.items():
            try:
                mark = mark_of(file.path)
                data = secret_bytes(file.path) if mark != file.mark else None
            except OSError as error:
                found[application_id] = error
            else:
                found[application_id] = mark, data
        return found

    def _take(self, application_id: int, file: _File, mark: Mark, data: bytes | None) -> None:
        """Use the key in a file; `data` is None where it hasn't changed.

        A file without a key is read again the next time.
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
        """Log what is wrong with a file, once until something else is wrong."""
        if detail != file.error_detail:
            file.error_detail = detail
            logger.warning(
                event,
                extra={"application_id": application_id, "path": str(file.path), "detail": detail},
            )
