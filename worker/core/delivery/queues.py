"""Batches that wait for their turn, for a time, or until other rows are accepted."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from worker.core.model.batch import Batch

# Returns the batch itself if it stays, another batch in its place, or None if it leaves.
Transform = Callable[[Batch], Batch | None]


class Queue:
    """Ready and delayed batches.

    A delayed batch whose time has come goes before the ready ones: it has waited longer.
    """

    def __init__(self) -> None:
        self._ready: deque[Batch] = deque()
        self._delayed: list[tuple[float, int, Batch]] = []
        self._sequence = count()

    @property
    def has_ready(self) -> bool:
        """True if a batch may be sent at once."""
        return bool(self._ready)

    @property
    def next_due(self) -> float | None:
        """When the first delayed batch is due, in monotonic seconds; None with none delayed."""
        return self._delayed[0][0] if self._delayed else None

    def append(self, batches: Iterable[Batch]) -> None:
        """Add ready batches behind the others."""
        self._ready.extend(batches)

    def put_first(self, *batches: Batch) -> None:
        """Add ready batches before the others, in this order."""
        self._ready.extendleft(reversed(batches))

    def delay(self, batch: Batch, due_seconds: float) -> None:
        """Add a batch that may not be sent before that time."""
        heapq.heappush(self._delayed, (due_seconds, next(self._sequence), batch))

    def pop(self, monotonic_seconds: float) -> Batch | None:
        """The next batch that may be sent now; None if there is none."""
        if self._delayed and self._delayed[0][0] <= monotonic_seconds:
            return heapq.heappop(self._delayed)[2]
        return self._ready.popleft() if self._ready else None

    def pop_ready(self, passes_over: Callable[[str], bool]) -> Batch | None:
        """The next ready batch whose id isn't passed over; None if there is none."""
        for place, batch in enumerate(self._ready):
            if not passes_over(batch.id):
                del self._ready[place]
                return batch
        return None

    def ready(self) -> Iterable[Batch]:
        """The batches that may be sent at once, in order."""
        return self._ready

    def replace_delayed(self, transform: Transform) -> None:
        """Pass every delayed batch through `transform`."""
        passed = [(due, sequence, transform(batch)) for due, sequence, batch in self._delayed]
        self._delayed = [
            (due, sequence, batch) for due, sequence, batch in passed if batch is not None
        ]
        heapq.heapify(self._delayed)

    def replace_ready(self, transform: Transform) -> None:
        """Pass every ready batch through `transform`."""
        self._ready = deque(batch for batch in map(transform, self._ready) if batch is not None)

    def batches(self) -> list[Batch]:
        """Every batch that waits here."""
        return [*self._ready, *(batch for _, _, batch in self._delayed)]


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    due_seconds: float


class Quarantine:
    """Rows that were refused alone, until other rows of their application are accepted.

    Each is a batch of one row.

    A quiet application may send no other row for hours, and then a bad row looks the same as an API
    that refuses everything. So the wait is bounded: when a row has waited `wait_seconds_max` (the
    time between two probes), its application is put on hold. There operators see the row, it is
    sent again as a probe, and it is parked before it stops a partition.
    """

    def __init__(self, wait_seconds_max: float) -> None:
        self._wait_seconds_max = wait_seconds_max
        self._waiting: dict[int, list[_Waiting]] = {}

    def add(self, batch: Batch, monotonic_seconds: float) -> None:
        """Let this batch wait from now on."""
        due_seconds = monotonic_seconds + self._wait_seconds_max
        self._waiting.setdefault(batch.destination.application_id, []).append(
            _Waiting(batch, due_seconds)
        )

    def release(self, application_id: int, may_go: Callable[[Batch], bool]) -> list[Batch]:
        """Take out the batches of this application that may go, oldest first."""
        going: list[Batch] = []
        staying: list[_Waiting] = []
        for waiting in self._waiting.pop(application_id, ()):
            if may_go(waiting.batch):
                going.append(waiting.batch)
            else:
                staying.append(waiting)
        if staying:
            self._waiting[application_id] = staying
        return going

    def applications(self) -> list[int]:
        """The applications that have a batch here."""
        return list(self._waiting)

    def of(self, application_id: int) -> list[Batch]:
        """The batches of this application that wait."""
        return [waiting.batch for waiting in self._waiting.get(application_id, ())]

    def overdue(self, monotonic_seconds: float) -> list[int]:
        """The applications that have a batch whose wait is over."""
        return [application_id for application_id, due in self._dues() if due <= monotonic_seconds]

    def postpone_overdue(self, monotonic_seconds: float) -> None:
        """Let the batches of applications whose wait is over wait once more, from now."""
        due_seconds = monotonic_seconds + self._wait_seconds_max
        for application_id in self.overdue(monotonic_seconds):
            self._waiting[application_id] = [
                _Waiting(waiting.batch, due_seconds) for waiting in self._waiting[application_id]
            ]

    def next_deadline(self) -> float | None:
        """When the first wait is over, in monotonic seconds; None if nothing waits."""
        return min((due for _, due in self._dues()), default=None)

    def batches(self) -> list[Batch]:
        """Every batch that waits here."""
        return [waiting.batch for mine in self._waiting.values() for waiting in mine]

    def replace(self, transform: Transform) -> None:
        """Pass every batch through `transform`."""
        for application_id, mine in list(self._waiting.items()):
            passed = [(waiting, transform(waiting.batch)) for waiting in mine]
            staying = [
                _Waiting(batch, waiting.due_seconds)
                for waiting, batch in passed
                if batch is not None
            ]
            if staying:
                self._waiting[application_id] = staying
            else:
                del self._waiting[application_id]

    def _dues(self) -> list[tuple[int, float]]:
        """When the first wait of each application is over.

        All waits are equally long, so that is the oldest batch's.
        """
        return [
            (application_id, mine[0].due_seconds) for application_id, mine in self._waiting.items()
        ]
