"""The partitions that can't be read at present: each is tried again after a wait of its own that
grows.
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


@dataclass(slots=True)
class _PartitionError:
    """What was said, since when it can't be read, and when it is tried again."""

    detail: str
    since: float
    retry_at: float
    wait_seconds: float


class PartitionErrors:
    """Of one consumer, for as long as that one lives."""

    def __init__(self) -> None:
        self._partition_errors: dict[Assignment, _PartitionError] = {}

    @property
    def details(self) -> Mapping[Assignment, str]:
        """What was said of each."""
        return {
            assignment: problem.detail for assignment, problem in self._partition_errors.items()
        }

    def note(self, assignment: Assignment, offset: int, detail: str) -> None:
        """This one couldn't be read at this offset: not before some time has passed it is tried
        again.
        """
        now = _now()
        before = self._partition_errors.get(assignment)
        wait = (
            min(before.wait_seconds * 2, WAIT_SECONDS_MAX)
            if before is not None
            else WAIT_SECONDS_FIRST
        )
        since = before.since if before is not None else now
        self._partition_errors[assignment] = _PartitionError(detail, since, now + wait, wait)
        logger.error(
            "poll_failed", extra={"partition": str(assignment), "offset": offset, "detail": detail}
        )

    def end(self, assignment: Assignment) -> None:
        """This one has been read."""
        self._partition_errors.pop(assignment, None)

    def keep(self, assignments: Collection[Assignment]) -> None:
        """All but these are forgotten."""
        self._partition_errors = {
            one: problem for one, problem in self._partition_errors.items() if one in assignments
        }

    def is_put_off(self, assignment: Assignment) -> bool:
        """True while it isn't time to try this one again."""
        problem = self._partition_errors.get(assignment)
        return problem is not None and problem.retry_at > _now()

    def next_retry(self) -> float | None:
        """When it is time for one of those that are put off, in the loop's time; None where none
        is.
        """
        now = _now()
        return min(
            (
                problem.retry_at
                for problem in self._partition_errors.values()
                if problem.retry_at > now
            ),
            default=None,
        )

    def of_all(self, count: int, seconds: float) -> str | None:
        """What is said where so many partitions, all there are, have failed for so long.

        Damage is one partition's own.
        """
        failing = [
            one
            for one in self._partition_errors.values()
            if not one.detail.startswith(CorruptRecordException.__name__)
        ]
        if (
            failing
            and len(failing) == count
            and min(_now() - one.since for one in failing) > seconds
        ):
            return failing[0].detail
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
