"""Files that may be replaced while the worker runs: whether one has changed, and its bytes.

The functions are for a thread: a file system that hangs must not block the event loop.
"""

from __future__ import annotations

from pathlib import Path

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
