"""The writer and its producers, on virtual time: pieces, single records, and stuck producers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from tests.builders import FakeRecord, make_assignment
from verification.simulation import virtual_loop
from worker.core.model.event import DeadLettersAcknowledged, DeadLettersFailed, Event
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.edges.kafka.client import (
    GRACE_SECONDS,
    STOP_SECONDS_MAX,
    KafkaConnection,
    KafkaSecurity,
)
from worker.edges.kafka.producer import BatchProducer, Outgoing
from worker.edges.kafka.stored_records import dead_letter_writer
from worker.edges.kafka.writer import PIECE_BYTES_MAX, PIECE_RECORDS_MAX, NoteWrite

REQUEST_SECONDS = 40.0
TOPICS = {"source": "dlq", "other": "other-dlq"}
# When a batch is acknowledged after its first record came.
ROUND_TRIP_SECONDS = 0.01


class Producer:
    """A producer like aiokafka's, as far as the writer can see.

    `is_away`: it never reaches a broker, and never says so. `has_no_start`: nor does its start.
    `finds_too_large`: its broker refuses each batch.
    """

    def __init__(
        self,
        *,
        is_away: bool = False,
        has_no_start: bool = False,
        missing_topic: str = "",
        finds_too_large: bool = False,
    ) -> None:
        self._finds_too_large = finds_too_large
        self._is_away = is_away or has_no_start
        self._has_no_start = has_no_start
        self._missing_topic = missing_topic
        self.sending = self.sending_most = self.unacknowledged = self.unacknowledged_most = 0
        self.bytes_most = self._bytes = 0
        self.sent: list[int] = []
        self._acknowledgements: list[tuple[asyncio.Future[None], int]] = []
        # What the writer's end of a producer looks at.
        self._closed = False
        self._sender = SimpleNamespace(sender_task=None)
        self.client = SimpleNamespace(close=self._nothing)

    async def _nothing(self) -> None:
        pass

    async def start(self) -> None:
        if self._has_no_start:
            await asyncio.Event().wait()

    async def flush(self) -> None:
        if self._is_away:
            await asyncio.Event().wait()

    async def send(self, topic: str, value: bytes, headers: Any, **_: Any) -> asyncio.Future[None]:
        self.sending += 1
        self.sending_most = max(self.sending_most, self.sending)
        await asyncio.sleep(REQUEST_SECONDS if topic == self._missing_topic else 0)
        self.sending -= 1
        if topic == self._missing_topic:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        acknowledgement = loop.create_future()
        self.sent.append(int(dict(headers)["__appmetrica.errors.offset"]))
        if not self._is_away:
            if not self._acknowledgements:
                loop.call_later(ROUND_TRIP_SECONDS, self._acknowledge)
            self._acknowledgements.append((acknowledgement, len(value)))
            self.unacknowledged_most = max(self.unacknowledged_most, len(self._acknowledgements))
            self.bytes_most = max(self.bytes_most, sum(size for _, size in self._acknowledgements))
        return acknowledgement

    def _acknowledge(self) -> None:
        for acknowledgement, _ in self._acknowledgements:
            if self._finds_too_large:
                acknowledgement.set_exception(MessageSizeTooLargeError())
            else:
                acknowledgement.set_result(None)
        self._acknowledgements.clear()


class Connection(KafkaConnection):
    """Makes these producers, one after the other."""

    def __init__(self, *producers: Producer) -> None:
        super().__init__(("bootstrap:9092",), "test", REQUEST_SECONDS, KafkaSecurity())
        object.__setattr__(self, "left", list(producers))

    def producer(self, **_: Any) -> Any:
        return getattr(self, "left").pop(0)  # noqa: B009  # the dataclass knows nothing of it


def rejections(
    count: int, *, start: int = 0, topic: str = "source", size: int = 10
) -> tuple[Rejection, ...]:
    fault = FieldFault(Reason.NOT_JSON, "", "no")
    return tuple(
        Rejection(
            make_assignment(topic=topic), FakeRecord(offset, b"v" * size), (fault,), 100 + size
        )
        for offset in range(start, start + count)
    )


def written(
    connection: Connection,
    *writes: tuple[Rejection, ...],
    events_max: int | None = None,
    note_write: NoteWrite[Rejection] | None = None,
) -> list[tuple[float, Event]]:
    """The writer's events and their times, until all is acknowledged or there are enough."""

    async def main() -> list[tuple[float, Event]]:
        events: list[tuple[float, Event]] = []
        loop = asyncio.get_running_loop()
        is_over = asyncio.Event()
        wanted = sum(map(len, writes))

        def post(event: Event) -> None:
            events.append((round(loop.time(), 6), event))
            done = sum(len(one.rejections) for one in _acknowledged(events)) == wanted
            if done or (events_max is not None and len(events) >= events_max):
                is_over.set()

        writer = dead_letter_writer(connection, TOPICS, "1", post, note_write)
        for entries in writes:
            writer.write(entries)
        task = asyncio.create_task(writer.run())
        await is_over.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()
        return events

    return virtual_loop.run(main(), seconds_max=1000.0)


def _acknowledged(events: list[tuple[float, Event]]) -> list[DeadLettersAcknowledged]:
    return [event for _, event in events if isinstance(event, DeadLettersAcknowledged)]


def test_many_records_go_in_pieces_and_one_after_the_other() -> None:
    producer = Producer()
    events = written(Connection(producer), rejections(5 * PIECE_RECORDS_MAX))
    assert producer.sent == list(range(5 * PIECE_RECORDS_MAX))
    assert producer.sending_most == 1, (
        "what waits for room together tries again together, each time"
    )
    assert producer.unacknowledged_most <= PIECE_RECORDS_MAX
    assert [len(one.rejections) for one in _acknowledged(events)] == [PIECE_RECORDS_MAX] * 5


def test_a_piece_of_large_records_is_bounded_in_bytes() -> None:
    producer = Producer()
    size = PIECE_BYTES_MAX // 4
    written(Connection(producer), rejections(40, size=size))
    assert producer.bytes_most <= PIECE_BYTES_MAX + size


def test_what_was_asked_for_at_several_times_goes_together() -> None:
    producer = Producer()
    events = written(Connection(producer), *(rejections(1, start=number) for number in range(300)))
    assert [len(one.rejections) for one in _acknowledged(events)] == [300]


def test_each_attempt_is_noted_by_topic_with_its_faults() -> None:
    noted: list[tuple[str, int, list[str]]] = []

    def note(
        topic: str, entries: Sequence[Rejection], faults: Sequence[Exception], started: int
    ) -> None:
        assert started > 0
        noted.append((topic, len(entries), [type(fault).__name__ for fault in faults]))

    producer = Producer(missing_topic="other-dlq")
    both = (*rejections(2), *rejections(1, start=2, topic="other"))
    written(Connection(producer, Producer()), both, note_write=note)
    assert noted == [
        ("dlq", 2, []),
        ("other-dlq", 1, ["TimeoutError"]),
        ("other-dlq", 1, []),
    ]


def test_a_producer_that_gets_nowhere_is_a_failure_and_another_one_takes_its_place() -> None:
    unavailable, other = Producer(is_away=True), Producer()
    events = written(Connection(unavailable, other), rejections(3))
    (at, failed), (_, acknowledged) = events
    assert at == REQUEST_SECONDS + GRACE_SECONDS
    assert failed == DeadLettersFailed(3, f"KafkaTimeoutError: not acknowledged within {at:g} s")
    assert acknowledged == DeadLettersAcknowledged(rejections(3))
    assert (unavailable._closed, unavailable.sent, other.sent) == (True, [0, 1, 2], [0, 1, 2])


def test_a_producer_that_never_starts_is_a_failure_and_another_one_takes_its_place() -> None:
    stuck, other = Producer(has_no_start=True), Producer()
    (at, failed), (_, acknowledged) = written(Connection(stuck, other), rejections(3))
    # The time for a start, then for the end of what was started.
    assert at == REQUEST_SECONDS + GRACE_SECONDS + STOP_SECONDS_MAX
    assert failed == DeadLettersFailed(
        3, "KafkaTimeoutError: no producer could be started within 45 s"
    )
    assert acknowledged == DeadLettersAcknowledged(rejections(3))
    assert stuck._closed


def test_failures_are_reported_again_and_again_with_growing_pauses() -> None:
    connection = Connection(*(Producer(is_away=True) for _ in range(4)))
    events = written(connection, rejections(1), events_max=3)
    times = [at for at, _ in events]
    assert all(isinstance(event, DeadLettersFailed) for _, event in events)
    # Each waits for its acknowledgement, then for the old producer's end, then a while.
    assert [b - a for a, b in pairwise(times)] == [45.0 + 5.0 + 0.5, 45.0 + 5.0 + 1.0]


def test_what_a_missing_topic_refuses_is_not_counted_against_another() -> None:
    first = Producer(missing_topic="other-dlq")
    events = written(
        Connection(first, Producer()), (*rejections(3, topic="other"), *rejections(3, start=10))
    )
    (_, acknowledged), (at, failed), _ = events
    assert acknowledged == DeadLettersAcknowledged(rejections(3, start=10))
    assert (at, failed) == (REQUEST_SECONDS, DeadLettersFailed(3, "TimeoutError"))


def test_records_that_are_written_alone_wait_for_a_lost_broker_once_and_not_each() -> None:
    producers = Producer(finds_too_large=True), Producer(is_away=True), Producer()
    events = written(Connection(*producers), rejections(20))
    (at, failed), (_, acknowledged) = events
    assert at == REQUEST_SECONDS + GRACE_SECONDS + STOP_SECONDS_MAX + ROUND_TRIP_SECONDS
    assert isinstance(failed, DeadLettersFailed)
    assert acknowledged == DeadLettersAcknowledged(rejections(20))


def test_a_missing_topic_keeps_no_record_of_another_from_being_written_alone() -> None:
    producers = Producer(finds_too_large=True), Producer(missing_topic="other-dlq"), Producer()
    others, ours = rejections(3, topic="other"), rejections(2, start=10)
    events = written(Connection(*producers), (*others, *ours))
    assert events[0] == (REQUEST_SECONDS + ROUND_TRIP_SECONDS * 3, DeadLettersAcknowledged(ours))
    assert isinstance(events[1][1], DeadLettersFailed)
    assert events[2][1] == DeadLettersAcknowledged(others)


# --- for tools ------------------------------------------------------------------------------------


def test_a_tool_gives_up_where_nothing_is_acknowledged() -> None:
    async def main() -> float:
        record = Outgoing("dlq", None, b"value", [("__appmetrica.errors.offset", b"1")])
        async with BatchProducer(Connection(Producer(is_away=True))) as producer:
            with pytest.raises(KafkaTimeoutError, match="not acknowledged within 45 s"):
                await producer.send([record])
        return asyncio.get_running_loop().time()

    assert virtual_loop.run(main(), seconds_max=1000.0) < 60.0
