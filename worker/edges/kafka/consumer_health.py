"""Which partitions of a consumer can't be read or are silent, and whether the consumer is dead.

A partition that can't be read is tried again after a wait that grows with each failure. A partition
is silent if nothing has been fetched of it for some time, not even an empty answer: a healthy
consumer fetches all the time, and each answer has a new mark.

A consumer whose fetch task has died never fetches again (aiokafka #983, #1037), and has to be
replaced. A partition without a leader is silent too, but another consumer would fetch nothing of it
either; it recovers by itself. So the leaders of silent partitions are asked over new connections.
If a leader answers several times while the consumer still fetches nothing of its partition, the
consumer is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from aiokafka.errors import CorruptRecordException, KafkaError

from worker.core.model.record import Assignment, TopicPartition
from worker.edges.kafka.broker_address import text_of
from worker.edges.kafka.offset_lookup import LogBounds, Unavailable
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

WAIT_SECONDS_FIRST = 1.0
WAIT_SECONDS_MAX = 30.0
# A silent partition is asked for again after this time, which doubles with each question.
ASK_SECONDS_FIRST = 5.0
ASK_SECONDS_MAX = 30.0

Answers = Mapping[TopicPartition, LogBounds | Unavailable]


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
            and how long all partitions may fail before the consumer counts as dead.
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
        """Note that this partition has been read: it is neither failing nor silent."""
        self._errors.pop(assignment, None)
        self._silences.pop(assignment, None)

    def is_put_off(self, assignment: Assignment) -> bool:
        """Return whether this partition is not to be tried yet."""
        error = self._errors.get(assignment)
        return error is not None and error.retry_at > _now()

    def next_retry(self) -> float | None:
        """Return when the next postponed partition is due, in the loop's time; None without one."""
        now = _now()
        due = (error.retry_at for error in self._errors.values() if error.retry_at > now)
        return min(due, default=None)

    def failure(self) -> str | None:
        """Return what shows that the consumer is unusable; None while a partition can be read.

        Damaged records are a fault of their partition alone.
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
        """Note the last fetches. Called about once a second.

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
        """Return the partitions of which nothing has been fetched for `stall_seconds`."""
        now = _now()
        return frozenset(
            one
            for one, silence in self._silences.items()
            if now - silence.since > self.stall_seconds
        )


class Watchdog:
    """Watches a consumer until that consumer is closed.

    Args:
        health: which partitions fail or are silent.
        look_up: asks the leaders of partitions.
    """

    def __init__(
        self,
        health: PartitionHealth,
        look_up: Callable[[Collection[TopicPartition]], Awaitable[Answers]],
    ) -> None:
        self._health = health
        self._look_up = look_up
        self._asking: asyncio.Task[Answers | str] | None = None
        self._ask_at = 0.0
        self._ask_seconds = ASK_SECONDS_FIRST
        # The last answers of the leaders of silent partitions.
        self._answered: Answers = {}

    @property
    def unavailable(self) -> Mapping[Assignment, str]:
        """Our partitions whose leader can't be asked, and why."""
        answers = {one: self._answered.get(one.topic_partition) for one in self._health.silent()}
        return {
            one: answer.reason for one, answer in answers.items() if isinstance(answer, Unavailable)
        }

    def advance(self) -> str | None:
        """Return what shows that the consumer is dead; None while nothing does.

        Called once a second, never waits.
        """
        now = _now()
        if self._asking is not None:
            return self._conclude(self._asking.result()) if self._asking.done() else None
        failure = self._health.failure()
        if failure is not None:
            return failure
        silent = frozenset(one.topic_partition for one in self._health.silent())
        self._answered = {
            partition: answer for partition, answer in self._answered.items() if partition in silent
        }
        if not self._answered:
            self._ask_at, self._ask_seconds = min(self._ask_at, now), ASK_SECONDS_FIRST
        if silent and now >= self._ask_at:
            self._asking = asyncio.create_task(self._ask(silent), name="silent partitions")
        return None

    async def close(self) -> None:
        """End the question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self, partitions: frozenset[TopicPartition]) -> Answers | str:
        """Return the answers of the leaders, or why none can be asked."""
        try:
            return await self._look_up(partitions)
        except (KafkaError, OSError) as error:
            return text_of(error)
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "aiokafka cancelled the request"

    def _conclude(self, answers: Answers | str) -> str | None:
        self._asking = None
        self._ask_at = _now() + self._ask_seconds
        self._ask_seconds = min(self._ask_seconds * 2, ASK_SECONDS_MAX)
        silent = self._health.silent()
        seconds = f"{self._health.stall_seconds:g} s"
        if isinstance(answers, str):
            if not silent or silent != self._health.polled:
                return None
            return f"no fetch of any partition for {seconds}, and no broker answers: {answers}"
        before, self._answered = self._answered, answers
        for one in sorted(silent):
            answer = answers.get(one.topic_partition)
            # Only the second answer counts: the consumer fetches from a recovered leader a moment
            # later.
            if isinstance(answer, LogBounds) and isinstance(
                before.get(one.topic_partition), LogBounds
            ):
                return f"no fetch of {one} for {seconds}, though its leader answers"
            if isinstance(answer, Unavailable):
                fields = {"partition": str(one.topic_partition), "detail": answer.reason}
                logger.error("partition_away", extra=fields)
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
