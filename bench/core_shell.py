"""A shell around the core without a broker and without HTTP: every command succeeds at once."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence

from aiokafka.structs import ConsumerRecord

from bench.events import APPLICATIONS
from worker.core.model.answer import Response
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Command, Commit, Post, WriteDeadLetters
from worker.core.model.event import (
    Answered,
    Assigned,
    Committed,
    DeadLettersAcknowledged,
    Event,
    Received,
    TimePassed,
)
from worker.core.model.record import Assignment, Start
from worker.daemon.assembly import assemble
from worker.settings.schema import Settings

TOPIC = "offline-events"
PARTITIONS = 6
CHUNK_RECORDS = 1_000
Record = ConsumerRecord[bytes, bytes]
Chunk = tuple[Assignment, Sequence[Record]]


def settings() -> Settings:
    """The settings of a worker whose limits never pause it: no answer comes while it receives."""
    keys = {str(number): {"post_api_key": f"bench-key-{number}"} for number in APPLICATIONS}
    return Settings.model_validate(
        {
            "routes": [{"topic": TOPIC}],
            "appmetrica": {"applications": keys},
            "limits": {
                "clock_difference_seconds_max": 0,
                "span_records_max": 10_000_000,
                "memory_bytes_max": 2**38,
            },
            "delivery": {"requests_in_flight_max": 64},
        }
    )


def chunks(values: Sequence[bytes], first: int, unix_seconds: int) -> list[Chunk]:
    """The values as chunks of records, of each partition in turn.

    Args:
        values: the values of the records.
        first: the offset of the first record; a partition's offsets have gaps, as after compaction.
        unix_seconds: the time of the records.
    """
    made: list[Chunk] = []
    for start in range(0, len(values), CHUNK_RECORDS):
        partition = start // CHUNK_RECORDS % PARTITIONS
        records = [
            _record(partition, first + start + index, value, unix_seconds)
            for index, value in enumerate(values[start : start + CHUNK_RECORDS])
        ]
        made.append((assignment(partition), records))
    return made


def assignment(partition: int) -> Assignment:
    """The assignment of a partition; it never ends."""
    return Assignment(TOPIC, partition, partition + 1)


class CoreShell:
    """Runs the core as the worker assembles it."""

    def __init__(self, unix_seconds: int) -> None:
        self._unix_seconds = unix_seconds
        self._pipeline = assemble(settings(), "bench", lambda _: None).pipeline
        starts = (Start(assignment(number), 0, None) for number in range(PARTITIONS))
        self._handle(Assigned(tuple(starts)))

    def receive(self, received: Iterable[Chunk]) -> list[Batch]:
        """Hand in chunks, let the linger pass, and return the batches to be posted."""
        batches: list[Batch] = []
        for owner, records in received:
            batches += self._handle(Received(owner, records, records[-1].offset + 1))
        return batches + self._handle(TimePassed(), time.monotonic() + 10.0)

    def answer(self, batches: Iterable[Batch]) -> None:
        """Answer every batch with 200, and those that are posted then."""
        waiting = deque(batches)
        while waiting:
            batch = waiting.popleft()
            answer = Response(200, None, "", 0.05, self._unix_seconds)
            waiting += self._handle(Answered(batch.id, answer))

    def run(self, received: Iterable[Chunk]) -> None:
        """Everything that the core does with these chunks, up to the commit."""
        batches = self.receive(received)
        for batch in batches:
            batch.body()
        self.answer(batches)

    def _handle(self, event: Event, seconds: float | None = None) -> list[Batch]:
        """Hand in an event; do what the shell does at once, and return what is to be posted."""
        now = Now(time.monotonic() if seconds is None else seconds, self._unix_seconds)
        batches: list[Batch] = []
        commands: deque[Command] = deque(self._pipeline.handle(event, now))
        while commands:
            match commands.popleft():
                case Post(batch=batch):
                    batches.append(batch)
                case WriteDeadLetters(rejections=rejections):
                    commands += self._pipeline.handle(DeadLettersAcknowledged(rejections), now)
                case Commit(positions=positions):
                    commands += self._pipeline.handle(Committed(positions, 0.001), now)
                case _:
                    pass
        return batches


def _record(partition: int, offset: int, value: bytes, unix_seconds: int) -> Record:
    return ConsumerRecord(
        TOPIC, partition, offset, unix_seconds * 1000, 0, b"key", value, None, 3, len(value), ()
    )
