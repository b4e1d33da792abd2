"""Which partitions of one consumer can't be read at present, and which fall silent.

A partition that can't be read is tried again after a wait of its own that grows. A partition is
silent if nothing has been fetched of it for a while, not even an empty answer: a healthy consumer
goes on fetching, and each answer has a new mark.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import CorruptRecordException

from worker.core.model.record import Assignment

logger = logging.getLogger("worker.kafka")

WAIT_SECONDS_FIRST = 1.0
WAIT_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class _ReadError:
    """The last error of a partition, since when it can't be read, and when it is tried again."""

    detail: str
    since: float
    retry_at: float
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class _Silence:
    """The mark of a partition's last fetch, and since when no other fetch has followed."""

    mark: int | None
    since: float


class PartitionHealth:
    """The partitions of one consumer.

    Args:
        stall_seconds: how long nothing may be fetched of a partition before it counts as silent,
            and how long all may fail before the consumer is to blame.
    """

    def __init__(self, stall_seconds: float) -> None:
        self.stall_seconds = stall_seconds
        self._assignments: frozenset[Assignment] = frozenset()
        self._errors: dict[Assignment, _ReadError] = {}
        self._silences: dict[Assignment, _Silence] = {}
        self._polled: frozenset[Assignment] = frozenset()

    def begin(self, assignments: Collection[Assignment]) -> None:
        """Watch these partitions from now on; forget all others."""
        self._assignments = frozenset(assignments)
        self._errors = {one: error for one, error in self._errors.items() if one in assignments}
        self._silences = {
            one: silence for one, silence in self._silences.items() if one in assignments
        }

    # --- errors -----------------------------------------------------------------------------------

    @property
    def errors(self) -> Mapping[Assignment, str]:
        """The partitions that can't be read at present, with their last error."""
        return {assignment: error.detail for assignment, error in self._errors.items()}

    def note_error(self, assignment: Assignment, offset: int, detail: str) -> None:
        """Put off reading this partition, which failed at this offset."""
        now = _now()
        before = self._errors.get(assignment)
        if before is None:
            self._errors[assignment] = _ReadError(
                detail, now, now + WAIT_SECONDS_FIRST, WAIT_SECONDS_FIRST
            )
        else:
            wait = min(before.wait_seconds * 2, WAIT_SECONDS_MAX)
            self._errors[assignment] = _ReadError(detail, before.since, now + wait, wait)
        fields = {"partition": str(assignment), "offset": offset, "detail": detail}
        logger.error("poll_failed", extra=fields)

    def note_read(self, assignment: Assignment) -> None:
        """Take note that this partition has been read: it is neither failing nor silent."""
        self._errors.pop(assignment, None)
        self._silences.pop(assignment, None)

    def is_put_off(self, assignment: Assignment) -> bool:
        """True while it isn't time to try this partition again."""
        error = self._errors.get(assignment)
        return error is not None and error.retry_at > _now()

    def next_retry(self) -> float | None:
        """When the next partition is due that is put off, in the loop's time; None without one."""
        now = _now()
        due = (error.retry_at for error in self._errors.values() if error.retry_at > now)
        return min(due, default=None)

    def failure(self) -> str | None:
        """What shows that the consumer is unusable: every partition fails. None while none does.

        Damaged records are a trouble of their partition alone.
        """
        failing = [
            error
            for error in self._errors.values()
            if not error.detail.startswith(CorruptRecordException.__name__)
        ]
        if (
            not failing
            or len(failing) != len(self._assignments)
            or min(_now() - error.since for error in failing) <= self.stall_seconds
        ):
            return None
        return f"every partition has failed for {self.stall_seconds:g} s: {failing[0].detail}"

    # --- silence ----------------------------------------------------------------------------------

    def watch(self, polled: Collection[Assignment], marks: Mapping[Assignment, int | None]) -> None:
        """Take note of the last fetches. Called about once a second.

        Args:
            polled: the partitions of which the consumer should fetch.
            marks: of those of them without fetched records, the mark of the last fetch.
        """
        now = _now()
        self._polled = frozenset(polled)
        self._silences = {
            one: before
            if (before := self._silences.get(one)) is not None and before.mark == mark
            else _Silence(mark, now)
            for one, mark in marks.items()
        }

    @property
    def polled(self) -> frozenset[Assignment]:
        """The partitions without an error of which the consumer should fetch."""
        return self._polled - self._errors.keys()

    def silent(self) -> frozenset[Assignment]:
        """The partitions of which nothing has been fetched for `stall_seconds`."""
        now = _now()
        return frozenset(
            one
            for one, silence in self._silences.items()
            if now - silence.since > self.stall_seconds
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
