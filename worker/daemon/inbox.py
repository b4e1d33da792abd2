"""Where events wait for the runner: one queue, in order of arrival.

Bounded by its senders, not by itself: an answer, a commit's end or an acknowledgement is one event
per command given, and the Kafka source waits until what it posted has been taken in before it polls
again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from worker.core.model.event import Event, TimePassed

# Heartbeats, probes and answers share the event loop with what is handled here.
TURN_SECONDS_MAX = 0.05


class Inbox:
    """Events from the edges to the runner. Belongs to one event loop and one reader.

    Args:
        clock: a monotonic clock, in seconds, that goes on while an event is handled.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn_ends = clock() + TURN_SECONDS_MAX
        self._events: deque[Event] = deque()
        self._arrival = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def post(self, event: Event) -> None:
        """Hand in an event. Never waits."""
        self._events.append(event)
        self._drained.clear()
        self._arrival.set()

    async def get(self, until: float | None) -> Event:
        """The next event, or `TimePassed` if none arrives by `until`.

        `until` is in seconds of the loop's time; None: wait for ever.

        Asking for the next event says that the one before it has been handled. However many wait,
        all other tasks have their turn after `TURN_SECONDS_MAX` of events.
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
        """Wait until everything posted so far has been handled."""
        await self._drained.wait()
