"""The checks of a worker at every step, by its pipeline's events, commands and requests.

Which partitions are assigned (3), that no settled record is sent again (8), that no step takes long
(7): all of this is computed here, apart from the worker's own books. `Books` checks the books.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from aiokafka.structs import TopicPartition

from verification.simulation.books import Books
from verification.simulation.truth import Truth
from verification.simulation.violation import ViolationError
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Command, Release, WriteDeadLetters
from worker.core.model.event import Answered, Assigned, Event, Lost
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Start
from worker.core.model.row import Row
from worker.core.pipeline import Pipeline
from worker.core.wire import commit_metadata
from worker.settings.schema import Settings

# Processor time: a busy machine makes no step longer.
STEP_CPU_SECONDS_MAX = 0.1
# A commit takes this long where the brokers work, and may wait for the commit before it.
COMMIT_SECONDS = 0.1


class Watch:
    """The checks of a worker, from its start to its end.

    `memory_bytes_max` is the mark at which it must stop receiving.
    """

    def __init__(
        self, name: str, pipeline: Pipeline, settings: Settings, truth: Truth, memory_bytes_max: int
    ) -> None:
        self._name = name
        self._pipeline = pipeline
        self._settings = settings
        self._truth = truth
        self.books = Books(pipeline, settings, memory_bytes_max)
        self._starts: dict[Assignment, Start] = {}
        self._settled: dict[Assignment, Sequence[tuple[int, int]]] = {}
        self._sent: dict[str, Sequence[Row]] = {}
        self._delivered: dict[Assignment, dict[int, float]] = {}
        self._faults_in_a_row = 0
        self._refused_in_a_row: Counter[int] = Counter()
        self.seen: Counter[str] = Counter()
        self._handle: Callable[[Event, Now], list[Command]] = pipeline.handle
        pipeline.handle = self._watched  # type: ignore[method-assign]

    @property
    def held(self) -> set[TopicPartition]:
        """The partitions that are assigned to the worker."""
        return {TopicPartition(one.topic, one.partition) for one in self._starts}

    # --- what it sends ----------------------------------------------------------------------------

    def check_post(self, batch: Batch, unix_seconds: float) -> None:
        """Check a batch whose request starts."""
        self._sent[batch.id] = batch.rows
        earliest = int(unix_seconds) - self._settings.limits.event_age_seconds_max
        for row in batch.rows:
            start = self._starts.get(row.assignment)
            if start is None:
                raise ViolationError(
                    "3 fence", f"a post of {self._name} starts with rows of {row.assignment}"
                )
            if row.event_timestamp < earliest:
                raise ViolationError(
                    "age",
                    f"{row.event_timestamp} is sent by {self._name}; the oldest taken is "
                    f"{earliest}",
                )
            self._check_that_it_was_not_settled(row, start)

    def check_commit(self, partitions: Collection[TopicPartition]) -> None:
        """Check a commit that is about to be sent."""
        ours = self.held
        foreign = [partition for partition in partitions if partition not in ours]
        if foreign:
            raise ViolationError(
                "3 commit fence", f"{self._name} commits {foreign[0]}, which isn't its own"
            )

    def check_committed(
        self, committed: Callable[[TopicPartition], tuple[int, str] | None], now_seconds: float
    ) -> None:
        """Check invariant 8 where the brokers work: a kill repeats only the last deliveries.

        A row that was answered longer ago than a commit takes is covered by the committed position,
        or by the metadata beside it.
        """
        since = now_seconds - self._settings.kafka.commit_interval_seconds - COMMIT_SECONDS
        for assignment in self._starts:
            found = committed(TopicPartition(assignment.topic, assignment.partition)) or (0, "")
            decoded = commit_metadata.decode(*found)
            settled = decoded.settled if decoded is not None else ()
            for offset, at in self._delivered.get(assignment, {}).items():
                if (
                    at < since
                    and offset >= found[0]
                    and not any(first <= offset < end for first, end in settled)
                ):
                    text = (
                        f"{assignment} {offset} was delivered {now_seconds - at:.2f} s ago "
                        "and is not committed"
                    )
                    raise ViolationError("8 after a kill", text)

    def _check_that_it_was_not_settled(self, row: Row, start: Start) -> None:
        """Check invariant 8: no row is sent that the commit at the start named as settled."""
        offset = row.record.offset
        if offset < start.position or any(
            first <= offset < end for first, end in self._settled[row.assignment]
        ):
            raise ViolationError(
                "8 settled",
                f"{self._name} sends {row.assignment} {offset} again; its start was {start}",
            )

    # --- its steps --------------------------------------------------------------------------------

    def _watched(self, event: Event, now: Now) -> list[Command]:
        self._before(event, now)
        self.seen[type(event).__name__] += 1
        was_closed = self._pipeline._dispatcher._limiter.is_healthy
        started = time.thread_time()
        commands = self._handle(event, now)
        if (seconds := time.thread_time() - started) > STEP_CPU_SECONDS_MAX:
            raise ViolationError(
                "7 stall", f"{type(event).__name__} took {seconds:.3f} s of processor time"
            )
        for command in commands:
            self.seen[type(command).__name__] += 1
            match command:
                case Release(assignments=assignments):
                    self._end(assignments)
                case WriteDeadLetters(rejections=rejections):
                    self._check_refusals(rejections)
                case _:
                    pass
        self._check_breaker(was_closed=was_closed)
        self.books.check(event)
        return commands

    def _before(self, event: Event, now: Now) -> None:
        match event:
            case Assigned(starts=starts):
                for start in starts:
                    self._truth.check_start(start)
                    self._starts[start.assignment] = start
                    known = (
                        None
                        if start.committed is None
                        else commit_metadata.decode(*start.committed)
                    )
                    self._settled[start.assignment] = known.settled if known is not None else ()
            case Lost(assignments=assignments):
                self._end(assignments)
            case Answered(batch_id=batch_id, answer=answer):
                rows = self._sent.pop(batch_id)
                if isinstance(answer, Response) and answer.status == 200:
                    self._refused_in_a_row.pop(rows[0].destination.application_id, None)
                    for row in rows:
                        self._delivered.setdefault(row.assignment, {})[row.record.offset] = (
                            now.monotonic_seconds
                        )
                self._faults_in_a_row = (
                    self._faults_in_a_row + 1 if _is_fault_of_destination(answer) else 0
                )
            case _:
                pass

    def _end(self, assignments: Collection[Assignment]) -> None:
        for assignment in assignments:
            self._starts.pop(assignment, None)

    def _check_refusals(self, rejections: Collection[Rejection]) -> None:
        """Check that an API that refuses everything doesn't turn a topic into dead letters.

        The bound, per application and in a row: the rows that show a systemic refusal, and those
        of the batches that were being bisected when it began.
        """
        delivery = self._settings.delivery
        apart = delivery.requests_in_flight_max * int(
            self._settings.batching.rows_max * delivery.systemic_ratio
        )
        for rejection in rejections:
            if rejection.http_status is not None:
                application_id = json.loads(rejection.record.value or b"{}")["application_id"]
                self._refused_in_a_row[application_id] += 1
                if self._refused_in_a_row[application_id] >= delivery.systemic_rows_min + apart:
                    raise ViolationError(
                        "systemic",
                        f"application {application_id} is dead-lettered, but the API takes none",
                    )

    def _check_breaker(self, *, was_closed: bool) -> None:
        limiter = self._pipeline._dispatcher._limiter
        in_flight = len(limiter.batches())
        is_newly_open = limiter.is_broken and was_closed
        faults_min = self._settings.delivery.breaker_failures_max
        if is_newly_open and self._faults_in_a_row < faults_min:
            raise ViolationError(
                "breaker",
                f"it opens after {self._faults_in_a_row} faults of the destination in a row",
            )
        if in_flight > self._settings.delivery.requests_in_flight_max:
            raise ViolationError("5 in flight", f"{in_flight} requests")

    def check_fetched(self, held: int, bytes_max: int) -> None:
        """Check invariant 5: the bytes that the client has fetched ahead, of all partitions."""
        if held > bytes_max:
            raise ViolationError(
                "5 fetched ahead", f"{self._name} holds {held} bytes of {bytes_max}"
            )

    def check_end(self) -> None:
        """Check a worker that ended by itself: with no partition left, it holds no record."""
        if self._pipeline.is_finished and not self._starts:
            self.books.check_end()


def _is_fault_of_destination(answer: Answer) -> bool:
    match answer:
        case NotSent() | Ambiguous():
            return True
        case Response(status=status):
            return status == 408 or status >= 500
