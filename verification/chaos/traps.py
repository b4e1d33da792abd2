"""Points of a conversation at which something happens, decided from the bytes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """The message that passes.

    `asked`: a message from the worker, before it arrives; `answered`: an answer, before it arrives.
    """

    REQUEST_ASKED = "a request to the API, before it arrives"
    REQUEST_ANSWERED = "a 200 of the API, before it arrives"
    COMMIT_ASKED = "a commit, before it arrives"
    COMMIT_ANSWERED = "a commit that was taken, before the worker knows"
    JOIN_ASKED = "a member on its way into the group"
    JOIN_ANSWERED = "a rebalance, between joining and assignment"
    SYNC_ANSWERED = "an assignment, before it arrives"
    FETCH_ANSWERED = "records, before they arrive"
    DEAD_LETTER_ASKED = "a dead letter, before it is written"
    DEAD_LETTER_ANSWERED = "a dead letter that was written, before the worker knows"
    OFFSETS_ASKED = "a member that asks for its start positions"
    HEARTBEAT_ASKED = "a heartbeat"


class Traps:
    """The traps: at most one per point, and each acts once."""

    def __init__(self) -> None:
        self._armed: dict[Point, tuple[Callable[[str], bool], asyncio.Future[str]]] = {}

    def arm(self, point: Point, action: Callable[[str], bool]) -> asyncio.Future[str]:
        """Call the action with the owner of the connection that passes the point next.

        The action returns whether it wants this owner; if not, the trap stays. The result is the
        name of the owner on which it acted.
        """
        sprung: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._armed[point] = (action, sprung)
        return sprung

    def disarm(self, point: Point) -> None:
        """Remove the trap of this point."""
        self._armed.pop(point, None)

    def spring(self, point: Point, owner: str) -> bool:
        """Act if a trap waits at this point for this owner; True if the connection must end."""
        action, sprung = self._armed.get(point, (None, None))
        if action is None or sprung is None or not action(owner):
            return False
        del self._armed[point]
        if not sprung.done():
            sprung.set_result(owner)
        return True
