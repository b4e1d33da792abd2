"""A member of a consumer group: what it asked for, the answers it waits for, and its session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from aiokafka.errors import BrokerResponseError

T = TypeVar("T")
ErrorType = type[BrokerResponseError]


@dataclass(frozen=True, slots=True)
class Joining:
    """What a member asks for when it joins."""

    member_id: str
    client_id: str
    session_timeout_seconds: float
    rebalance_timeout_seconds: float
    protocols: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to JoinGroup."""

    error: ErrorType
    member_id: str
    generation: int = -1
    protocol: str = ""
    leader_id: str = ""
    members: tuple[tuple[str, None, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Synced:
    """The answer to SyncGroup."""

    error: ErrorType
    assignment: bytes = b""


class Member:
    """A member. It owns its waiters and the timer of its session."""

    def __init__(self, joining: Joining) -> None:
        self.joining = joining
        self.assignment = b""
        self._join_waiter: asyncio.Future[Joined] | None = None
        self._sync_waiter: asyncio.Future[Synced] | None = None
        self._session: asyncio.TimerHandle | None = None

    @property
    def has_joined(self) -> bool:
        """True while it waits for the answer to its JoinGroup."""
        return self._join_waiter is not None

    @property
    def is_waiting(self) -> bool:
        """True while it waits for an answer: it can't send heartbeats then."""
        return self._join_waiter is not None or self._sync_waiter is not None

    def join(self) -> asyncio.Future[Joined]:
        """The future answer to its JoinGroup."""
        self._join_waiter = asyncio.get_running_loop().create_future()
        return self._join_waiter

    def sync(self) -> asyncio.Future[Synced]:
        """The future answer to its SyncGroup."""
        self._sync_waiter = asyncio.get_running_loop().create_future()
        return self._sync_waiter

    def answer_join(self, answer: Joined) -> None:
        """Answer its JoinGroup, if it waits for that."""
        _answer(self._join_waiter, answer)
        self._join_waiter = None

    def answer_sync(self, answer: Synced) -> None:
        """Answer its SyncGroup, if it waits for that."""
        _answer(self._sync_waiter, answer)
        self._sync_waiter = None

    def renew_session(self, on_end: Callable[[], None]) -> None:
        """Begin its session anew; call `on_end` if it isn't renewed in time."""
        self.end_session()
        self._session = asyncio.get_running_loop().call_later(
            self.joining.session_timeout_seconds, on_end
        )

    def end_session(self) -> None:
        """Stop the timer of its session."""
        if self._session is not None:
            self._session.cancel()
            self._session = None


def _answer(waiter: asyncio.Future[T] | None, answer: T) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(answer)
