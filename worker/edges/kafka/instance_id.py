"""Who this worker is, so that after a crash its dead predecessor can be told from the living
members of the group.

The id stands in a file under `state_dir`. It is ours alone because it is valid only in the very
file it names (host, device and inode), and because that file is locked for as long as we live: a
copy names another file, and a living owner holds the lock, which the kernel drops however a process
dies. So an id that is read from a valid file whose lock was free can only be that of a predecessor
that is gone.

Where that can't be established the worker gets a fresh id, which nobody ever had: then there is
nobody to take over from, and a predecessor that crashed is waited out.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import socket
import stat
from pathlib import Path

logger = logging.getLogger("worker.kafka")

FILE_NAME = "instance-id"
ID_BYTES = 8
# Far above what is ever written: two numbers, the id and a host name of at most 255 bytes (POSIX)
# make about 320.
CONTENT_BYTES_MAX = 512

# Only a regular file is of use. The flags keep us from waiting for a FIFO's other end, from taking
# a terminal as our own, and from writing through a symbolic link into somebody else's file.
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW

_CONTENT = re.compile(rb"(?P<id>[0-9a-f]{%d}) [^\n]+\n" % (2 * ID_BYTES))


class Instance:
    """This worker's identity. No other process gets the same one before `release` or the end of
    this process.

    Attributes:
        id: a short hex text. is_inherited: True if a predecessor, now gone, had this very id:
        members of the group that carry it are dead.
    """

    def __init__(self, instance_id: str, *, is_inherited: bool, locked_file: int | None) -> None:
        self.id = instance_id
        self.is_inherited = is_inherited
        # A bare descriptor and no file object: a forgotten reference must not drop the lock while
        # the id is in use.
        self._locked_file = locked_file

    def release(self) -> None:
        """Let another process have the id.

        Only once no client of this process carries it any more. May be called twice.
        """
        if self._locked_file is not None:
            os.close(self._locked_file)
            self._locked_file = None


def claim(state_dir: Path | None) -> Instance:
    """The identity that is kept in `state_dir`, or a fresh one; called once, before the first Kafka
    client is made.

    Never raises for what it finds there: whatever is wrong is logged, and the worker does without a
    predecessor. The directory is not made. A normal return does not promise that the id will be
    there for the next process.

    Args:
        state_dir: a directory that outlives the process, such as an emptyDir of the pod; None keeps
            nothing.
    """
    if state_dir is None:
        return _fresh()
    path = state_dir / FILE_NAME
    try:
        file = os.open(path, _OPEN_FLAGS, 0o600)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return _without_file(path, error)
    try:
        return _claim_file(file, path)
    except BlockingIOError:
        os.close(file)
        logger.warning("instance_id_in_use", extra={"path": str(path)})
        return _fresh()
    except OSError as error:
        os.close(file)
        return _without_file(path, error)


def _claim_file(file: int, path: Path) -> Instance:
    """Lock the file and read its id, or write one into it.

    Raises:
        BlockingIOError: another process holds the lock.
        OSError: the file can't be locked, read or written.
    """
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found = os.pread(file, CONTENT_BYTES_MAX, 0)
    match = _CONTENT.fullmatch(found)
    if match is not None and found == _content(match["id"], file):
        return Instance(match["id"].decode(), is_inherited=True, locked_file=file)
    if found:
        detail = "damaged" if match is None else "written for another file or on another host"
        logger.warning("instance_id_replaced", extra={"path": str(path), "detail": detail})
    fresh = secrets.token_hex(ID_BYTES)
    # In place, as the lock belongs to the inode. A crash in between leaves a file that is empty or
    # lacks its end: either is taken for damaged. No fsync: only a crash of the host would need one,
    # and after that a damaged file does no harm.
    os.ftruncate(file, 0)
    os.pwrite(file, _content(fresh.encode(), file), 0)
    return Instance(fresh, is_inherited=False, locked_file=file)


def _content(instance_id: bytes, file: int) -> bytes:
    """What the file holds if the id was written into this very file on this host."""
    status = os.fstat(file)
    return b"%s %d %d %s\n" % (
        instance_id,
        status.st_dev,
        status.st_ino,
        os.fsencode(socket.gethostname()),
    )


def _without_file(path: Path, error: OSError | ValueError) -> Instance:
    logger.warning(
        "instance_id_not_kept",
        extra={"path": str(path), "detail": f"{type(error).__name__}: {error}"},
    )
    return _fresh()


def _fresh() -> Instance:
    return Instance(secrets.token_hex(ID_BYTES), is_inherited=False, locked_file=None)
