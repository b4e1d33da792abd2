"""The loop around the pipeline: takes events from the inbox and carries out commands.

It decides nothing. The edges carry the commands out, and their results come back as events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from worker.core.counters.trail import Trail
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import (
    AskTime,
    Command,
    Commit,
    Finish,
    Pause,
    Post,
    Release,
    Resume,
    Severity,
    StopIntake,
    WriteDeadLetters,
    WriteLog,
    WriteParked,
)
from worker.core.model.event import (
    Answered,
    ApiTimeRead,
    CommitFailed,
    Committed,
    Event,
    TimePassed,
)
from worker.core.model.fault import Rejection
from worker.core.model.record import Assignment, Position
from worker.core.model.row import Row
from worker.core.pipeline import Pipeline
from worker.daemon.inbox import Inbox

logger = logging.getLogger("worker.pipeline")

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}


class Source(Protocol):
    """The source of records, which also commits positions."""

    def pause(self, assignments: frozenset[Assignment]) -> None: ...
    def resume(self, assignments: frozenset[Assignment]) -> None: ...
    def release(self, assignments: tuple[Assignment, ...]) -> None: ...
    def stop_intake(self) -> None: ...
    async def commit(self, positions: dict[Assignment, Position]) -> Committed | CommitFailed: ...


class Sink(Protocol):
    """The API. `post` returns an answer for every failure of a request, and raises for none.

    `time_factor` multiplies the ordinary time limit of the request.
    """

    async def post(self, batch: Batch, time_factor: int) -> Answer: ...
    async def ask_time(self) -> Answer: ...


class DeadLetters(Protocol):
    """The writer of dead letters. It retries without an end, and reports by event."""

    def write(self, rejections: tuple[Rejection, ...], /) -> None: ...


class ParkedRecords(Protocol):
    """The writer of parked records. It retries without an end, and reports by event."""

    def write(self, rows: tuple[Row, ...], /) -> None: ...


def _no_fields(_: Mapping[str, object]) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges that carry the commands out.

    `log_fields` returns further fields for a log line with these fields.
    """

    source: Source
    sink: Sink
    dead_letters: DeadLetters
    parking: ParkedRecords
    log_fields: Callable[[Mapping[str, object]], Mapping[str, str]] = _no_fields


class Runner:
    """Runs the pipeline until it has finished.

    Args:
        pipeline: turns events into commands.
        inbox: the events.
        edges: carry the commands out.
        clock: reads both times; its monotonic seconds must be those of the event loop.
        trail: remembers the latest events and commands.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inbox: Inbox,
        edges: Edges,
        clock: Callable[[], Now],
        trail: Trail,
    ) -> None:
        self._pipeline = pipeline
        self._inbox = inbox
        self._edges = edges
        self._clock = clock
        self._trail = trail

    async def run(self) -> Finish:
        """Handle events until the pipeline returns `Finish`.

        Requests that are in flight then are cancelled: their rows are uncommitted.
        """
        async with asyncio.TaskGroup() as tasks:
            under_way: set[asyncio.Task[None]] = set()

            def start(work: Coroutine[Any, Any, None], name: str) -> None:
                task = tasks.create_task(work, name=name)
                under_way.add(task)
                task.add_done_callback(under_way.discard)

            while True:
                event = await self._inbox.get(until=self._pipeline.next_deadline())
                now = self._clock()
                if not isinstance(event, TimePassed):
                    self._note(event, now)
                for command in self._pipeline.handle(event, now):
                    self._note(command, now)
                    if isinstance(command, Finish):
                        for task in under_way:
                            task.cancel()
                        return command
                    self._perform(command, start)

    def _note(self, step: Event | Command, now: Now) -> None:
        self._trail.note(step, now)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("pipeline_event", extra=self._trail.latest())

    def _perform(
        self, command: Command, start: Callable[[Coroutine[Any, Any, None], str], None]
    ) -> None:
        match command:
            case Post(batch=batch, time_factor=time_factor):
                start(self._post(batch, time_factor), f"post {batch.id}")
            case AskTime():
                start(self._ask_time(), "ask time")
            case Commit(positions=positions):
                start(self._commit(positions), "commit")
            case WriteDeadLetters(rejections=rejections):
                self._edges.dead_letters.write(rejections)
            case WriteParked(rows=rows):
                self._edges.parking.write(rows)
            case Pause(assignments=assignments):
                self._edges.source.pause(assignments)
            case Resume(assignments=assignments):
                self._edges.source.resume(assignments)
            case Release(assignments=assignments):
                self._edges.source.release(assignments)
            case StopIntake():
                self._edges.source.stop_intake()
            case WriteLog(severity=severity, event=event, fields=fields):
                extra = {**fields, **self._edges.log_fields(fields)}
                logger.log(_LEVELS[severity], event, extra=extra)
            case Finish():
                raise AssertionError("Finish ends the loop")
            case _:
                assert_never(command)

    async def _post(self, batch: Batch, time_factor: int) -> None:
        self._inbox.post(Answered(batch.id, await self._edges.sink.post(batch, time_factor)))

    async def _ask_time(self) -> None:
        self._inbox.post(ApiTimeRead(await self._edges.sink.ask_time()))

    async def _commit(self, positions: dict[Assignment, Position]) -> None:
        self._inbox.post(await self._edges.source.commit(positions))
