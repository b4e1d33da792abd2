"""The batches that wait to be sent: those that may go at once, in order, and those whose time has
yet to come.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

from worker.core.model.batch import Batch

Transform = Callable[[Batch], Batch | None]


class Queue:
    """Ready and delayed batches.

    A batch whose time has come goes before the ready ones: it has waited longer.
    """

    def __init__(self) -> None:
        self._ready: deque[Batch] = deque()
        self._delayed: list[tuple[float, int, Batch]] = []
        self._sequence = count()

    @property
    def has_ready(self) -> bool:
        """True if a batch may go at once."""
        return bool(self._ready)

    @property
    def next_due(self) -> float | None:
        """When the first delayed batch's time comes, in monotonic seconds; None with
        none delayed.
        """
        return self._delayed[0][0] if self._delayed else None

    def append(self, batches: Iterable[Batch]) -> None:
        """These may go at once, behind the others."""
        self._ready.extend(batches)

    def put_first(self, *batches: Batch) -> None:
        """These go before the other ready ones, in this order."""
        self._ready.extendleft(reversed(batches))

    def delay(self, batch: Batch, due_seconds: float) -> None:
        """This one may not go before that time."""
        heapq.heappush(self._delayed, (due_seconds, next(self._sequence), batch))

    def pop(self, monotonic_seconds: float) -> Batch | None:
        """The next batch that may go now; None if there is none."""
        if self._delayed and self._delayed[0][0] <= monotonic_seconds:
            return heapq.heappop(self._delayed)[2]
        return self._ready.popleft() if self._ready else None

    def pop_ready(self, passes_over: Callable[[str], bool]) -> Batch | None:
        """The next batch that has no wait behind it, by its id not one to pass over; None if there
        is none.
        """
        for place, batch in enumerate(self._ready):
            if not passes_over(batch.id):
                del self._ready[place]
                return batch
        return None

    def ready(self) -> Iterable[Batch]:
        """Those that may go at once, in order."""
        return self._ready

    def replace_delayed(self, transform: Transform) -> None:
        """Pass every delayed batch through `transform`: it stays, is replaced, or (None) goes."""
        passed = [(due, sequence, transform(batch)) for due, sequence, batch in self._delayed]
        self._delayed = [
            (due, sequence, batch) for due, sequence, batch in passed if batch is not None
        ]
        heapq.heapify(self._delayed)

    def replace_ready(self, transform: Transform) -> None:
        """The same for the ready ones."""
        self._ready = deque(batch for batch in map(transform, self._ready) if batch is not None)

    def batches(self) -> list[Batch]:
        """All of them."""
        return [*self._ready, *(batch for _, _, batch in self._delayed)]
