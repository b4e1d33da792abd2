"""The identity of this worker, and how it frees the partitions of a predecessor that crashed.

The id is kept in a file under `state_dir`. It is valid only in the very file that it names (host,
device and inode), and that file is locked for as long as the process lives: a copy names another
file, and a living owner holds the lock, which the kernel drops however a process dies. So an id
from a valid file whose lock was free belongs to a predecessor that is gone. Where that can't be
established, the worker gets a fresh id: it has no predecessor, and the session of one that crashed
has to time out.

The group waits for a crashed member until its session times out, and meanwhile its partitions are
not read. But a coordinator removes a member at once when it gets a LeaveGroup for the member's id,
and every client with READ on the group may send that request. The dead member is found by its
client id, which no living process shares with us.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import re
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, NodeNotReadyError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.client import KafkaConnection

logger = logging.getLogger("worker.kafka")

FILE_NAME = "instance-id"
ID_BYTES = 8
# Far above what is ever written: two numbers, the id and a host name of at most 255 bytes (POSIX)
# make about 320.
CONTENT_BYTES_MAX = 512

# Only a regular file can be used. The flags prevent waiting for a FIFO's other end, taking a
# terminal as our own, and writing through a symbolic link into the file of another program.
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW

# The share of the time that is kept back to close the connections, which a silent broker delays.
CLOSING_SHARE = 0.2
# The largest share of the time for one connection or request, so that a single dead broker doesn't
# use it all up.
REQUEST_SHARE = 0.4

_CONTENT = re.compile(rb"(?P<id>[0-9a-f]{%d}) [^\n]+\n" % (2 * ID_BYTES))


class Instance:
    """This worker's identity: no other process has it before `release` or the end of this one.

    Attributes:
        id: a short hex text.
        is_inherited: True if a predecessor, now gone, had this very id: members of the group that
            carry it are dead.
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
    """Return the identity that is kept in `state_dir`, or a new one.

    Called once, before the first Kafka client is created.

    Never raises for the state of the directory: a problem is logged, and the worker goes without a
    predecessor. The directory is not created. A normal return does not promise that the id will be
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
    # lacks its end: either counts as damaged. No fsync: only a crash of the host would need it, and
    # after that a damaged file does no harm.
    os.ftruncate(file, 0)
    os.pwrite(file, _content(fresh.encode(), file), 0)
    return Instance(fresh, is_inherited=False, locked_file=file)


def _content(instance_id: bytes, file: int) -> bytes:
    """Return the content of the file if the id was written into this very file on this host."""
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
        extra={"path": str(path), "detail": text_of(error)},
    )
    return _fresh()


def _fresh() -> Instance:
    return Instance(secrets.token_hex(ID_BYTES), is_inherited=False, locked_file=None)


async def take_over(
    connection: KafkaConnection, group_id: str, client_id: str, timeout_seconds: float
) -> int:
    """Make the members of the group that carry this client id leave; returns how many did.

    Called at start, with an inherited identity, and finished before this process joins the group:
    it would remove itself. Does not promise that the predecessor has left. A failure is logged, and
    the worker then waits for the predecessor's session to end. A member that died between the two
    steps of its very first join isn't found: the broker doesn't list it, and waits for it.

    Args:
        connection: the brokers.
        group_id: the consumer group; it need not exist.
        client_id: ours and our predecessor's alone. Members with another client id are not touched.
        timeout_seconds: for everything, closing the connections included.

    Source: KIP-62 (sessions); the Kafka protocol's DescribeGroups and LeaveGroup.
    """
    capped = connection.capped(timeout_seconds * REQUEST_SHARE)
    client: AIOKafkaClient | None = None
    try:
        async with asyncio.timeout(timeout_seconds * (1 - CLOSING_SHARE)):
            client = AIOKafkaClient(**capped.arguments())
            await client.bootstrap()
            count = await _make_leave(client, group_id, client_id)
    # With NotImplementedError aiokafka reports a broker that accepts no version of a request that
    # aiokafka can write.
    except (KafkaError, OSError, NotImplementedError) as error:
        logger.warning(
            "take_over_failed",
            extra={"group_id": group_id, "detail": text_of(error)},
        )
        return 0
    finally:
        if client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds * CLOSING_SHARE):
                    await client.close()
    if count:
        logger.info("predecessor_taken_over", extra={"group_id": group_id, "members": count})
    return count


async def _make_leave(client: AIOKafkaClient, group_id: str, client_id: str) -> int:
    """Make the members with this client id leave; returns how many left.

    Raises:
        aiokafka.errors.KafkaError: a broker couldn't be asked, or refused.
        NotImplementedError: the broker accepts no version of a request that aiokafka can write.
    """
    if client.get_random_node() is None:
        raise NodeNotReadyError("the cluster names no brokers yet")
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group_id)
    count = 0
    for member_id in await _members(client, coordinator, group_id, client_id):
        # The response has one class per version of the protocol, and no common type.
        answer = cast(Any, await client.send(coordinator, LeaveGroupRequest(group_id, member_id)))
        if answer.error_code:
            error = for_code(answer.error_code).__name__
            logger.warning(
                "take_over_failed",
                extra={"group_id": group_id, "member_id": member_id, "detail": error},
            )
        else:
            count += 1
    return count


async def _members(
    client: AIOKafkaClient, coordinator: int, group_id: str, client_id: str
) -> list[str]:
    """Return the member ids in the group that carry this client id; none if there is no such group.

    Raises:
        aiokafka.errors.KafkaError: the coordinator couldn't be asked, or refused.
    """
    answer = cast(Any, await client.send(coordinator, DescribeGroupsRequest([group_id])))
    # One group was asked for. aiokafka reads a version 3 answer by version 2's form, which holds
    # for the first group only.
    ((error_code, _group_id, _state, _protocol_type, _protocol, members, *_),) = answer.groups
    if error_code:
        raise for_code(error_code)(f"can't describe the group {group_id}")
    return [member_id for member_id, owner, *_ in members if owner == client_id]
