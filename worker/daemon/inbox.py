"""The queue in which events wait for the runner, in order of arrival.

The queue has no bound of its own; its senders bound it. An answer, the end of a commit or an
acknowledgement is one event for one command. The Kafka source waits until its events are handled
before it polls again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from worker.core.model.event import Event, TimePassed

# Heartbeats, probes and uploads share the event loop with the handling of events. A chunk of 1,000
# records takes 7 ms, and the answer to 5,000 rows 10 to 20: each of them ends its turn, and only
# events that cost little share a turn.
TURN_SECONDS_MAX = 0.005


class Inbox:
    """Events from the edges to the runner. Belongs to one event loop and one reader.

    Args:
        clock: a monotonic clock, in seconds, that also advances while an event is handled.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn_ends = clock() + TURN_SECONDS_MAX
        self._events: deque[Event] = deque()
        self._arrival = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def post(self, event: Event) -> None:
        """Add an event to the queue. Never waits."""
        self._events.append(event)
        self._drained.clear()
        self._arrival.set()

    async def get(self, until: float | None) -> Event:
        """Return the next event, or `TimePassed` if no event arrives by `until`.

        `until` is in seconds of the loop's time; None waits without a limit.

        The call also means that the last event has been handled. However many events wait, the
        loop's other tasks run after `TURN_SECONDS_MAX` of events.
        """
        if self._events:
            if self._clock() >= self._turn_ends:
                await asyncio.sleep(0)
                self._turn_ends = self._clock() + TURN_SECONDS_MAX
        else:
            self._drained.set()
            self._arrival.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._arrival.wait()
            except TimeoutError:
                return TimePassed()
            finally:
                self._turn_ends = self._clock() + TURN_SECONDS_MAX
        return self._events.popleft()

    async def drained(self) -> None:
        """Wait until every posted event has been handled."""
        await self._drained.wait()
