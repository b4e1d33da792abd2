"""Where accused rows wait until others of their application have been accepted (see `bisect`).

A quiet application may send nothing else for hours, and then nobody can tell a bad row from an API
that refuses everything. So the wait is bounded: once a row has waited as long as the time between
two probes, its application is put on hold. There it is seen, asked again and again, and parked
before it stops a partition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.core.model.batch import Batch


@dataclass(frozen=True, slots=True)
class _Waiting:
    batch: Batch
    due_seconds: float


class Quarantine:
    """The accused, each a batch of one row, by application.

    `wait_seconds_max` is how long one waits here.
    """

    def __init__(self, wait_seconds_max: float) -> None:
        self._wait_seconds_max = wait_seconds_max
        self._waiting: dict[int, list[_Waiting]] = {}

    def add(self, batch: Batch, monotonic_seconds: float) -> None:
        """This one waits from now on."""
        due_seconds = monotonic_seconds + self._wait_seconds_max
        self._waiting.setdefault(batch.destination.application_id, []).append(
            _Waiting(batch, due_seconds)
        )

    def release(self, application_id: int, may_go: Callable[[Batch], bool]) -> list[Batch]:
        """Take those of this application that may go, in the order in which they came."""
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

    def of(self, application_id: int) -> list[Batch]:
        """Those of this application that wait."""
        return [waiting.batch for waiting in self._waiting.get(application_id, ())]

    def overdue(self, monotonic_seconds: float) -> list[int]:
        """The applications of which one has waited as long as it may."""
        return [application_id for application_id, due in self._dues() if due <= monotonic_seconds]

    def postpone(self, application_id: int, monotonic_seconds: float) -> None:
        """Those of this application wait as long once more."""
        due_seconds = monotonic_seconds + self._wait_seconds_max
        self._waiting[application_id] = [
            _Waiting(one.batch, due_seconds) for one in self._waiting[application_id]
        ]

    def next_deadline(self) -> float | None:
        """When the first has waited as long as it may, in monotonic seconds; None if
        nobody waits.
        """
        return min((due for _, due in self._dues()), default=None)

    def batches(self) -> list[Batch]:
        """All that wait."""
        return [waiting.batch for mine in self._waiting.values() for waiting in mine]

    def replace(self, transform: Callable[[Batch], Batch | None]) -> None:
        """Pass every batch through `transform`: it stays, is replaced, or (None) goes."""
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
        """By application, when its first has waited as long as it may: they wait equally long, so
        that is who came first.
        """
        return [
            (application_id, mine[0].due_seconds) for application_id, mine in self._waiting.items()
        ]
