"""Files that may be replaced while the worker runs: whether one has changed, and its bytes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from worker.core.model.secret_text import SECRET_BYTES_MAX

WATCH_SECONDS = 2.0

# Distinguishes the states of a file. A mounted secret is a link that is redirected to another
# directory: that changes the inode.
Mark = tuple[int, int, int]


async def mark_of(path: Path) -> Mark:
    """Return the state of a file.

    In a thread: a file system that hangs must not block the loop. Take the mark before the file is
    read: a later write is noticed the next time.

    Raises:
        OSError: the file can't be read.
    """
    status = await asyncio.to_thread(path.stat)
    return status.st_ino, status.st_mtime_ns, status.st_size


async def secret_bytes(path: Path) -> bytes:
    """Return the bytes of a file of a secret, in a thread; of a larger file one byte too many.

    Raises:
        OSError: the file can't be read.
    """
    return await asyncio.to_thread(_read, path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SECRET_BYTES_MAX + 1)
