"""Files that may be replaced while the worker runs: whether one has changed, and its bytes.

The functions are for a thread: a file system that hangs must not block the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.core.model.secret_text import SECRET_BYTES_MAX

WATCH_SECONDS = 2.0

# Distinguishes the states of a file. A mounted secret is a link that is redirected to another
# directory: that changes the inode.
Mark = tuple[int, int, int]


def mark_of(path: Path) -> Mark:
    """Return the state of a file.

    Take the mark before the file is read: a later write is noticed the next time.

    Raises:
        OSError: the file can't be read.
    """
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def secret_bytes(path: Path) -> bytes:
    """Return the bytes of a file of a secret; of a larger file one byte too many.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return file.read(SECRET_BYTES_MAX + 1)


@dataclass(frozen=True, slots=True)
class NotUsable:
    """Why files can't be used."""

    detail: str


class WatchedFiles:
    """Files that are read together, after a change of any of them.

    Args:
        paths: where they are.
        read: takes what they hold; returns what is wrong with them.
    """

    def __init__(self, paths: Iterable[Path], read: Callable[[], Awaitable[str | None]]) -> None:
        self._paths = tuple(paths)
        self._read = read
        # The state that was read to its end; None: no state was.
        self._marks: list[Mark] | None = None
        self._error_detail: str | None = None

    async def check(self) -> Literal["changed"] | NotUsable | None:
        """Read the files if one has changed; unusable files are read again the next time.

        Returns:
            What is new since the last call; the first reading is no change.
        """
        marks: list[Mark] = []
        try:
            marks = await asyncio.to_thread(lambda: [mark_of(path) for path in self._paths])
            detail = await self._read() if marks != self._marks else None
        except OSError as error:
            # Being replaced, or not readable yet.
            detail = f"can't be read: {error.strerror}"
        known, self._error_detail = self._error_detail, detail
        if detail is not None:
            return NotUsable(detail) if detail != known else None
        before, self._marks = self._marks, marks
        return "changed" if before not in (None, marks) else None
