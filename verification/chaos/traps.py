"""Points of a conversation at which something happens, decided from the bytes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """The message that passes.

    `asked`: it has left the worker and reached nobody; `answered`: the other way round.
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
        """Do this, with the name of whose conversation it is, when the point is passed next.

        The action says whether it concerns that one; if not, the trap stays. The result names whom
        it sprang on.
        """
        sprung: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._armed[point] = (action, sprung)
        return sprung

    def disarm(self, point: Point) -> None:
        """Wait for it no longer."""
        self._armed.pop(point, None)

    def spring(self, point: Point, owner: str) -> bool:
        """A conversation of this owner passes that point; True if it ends here."""
        action, sprung = self._armed.get(point, (None, None))
        if action is None or sprung is None or not action(owner):
            return False
        del self._armed[point]
        if not sprung.done():
            sprung.set_result(owner)
        return True
