"""One worker in a history: assembled as in production, on a virtual loop and a model API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from verification.simulation.api_model import TIMEOUT_SECONDS, ModelApi, Sender
from verification.simulation.crashes import Crashes
from verification.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from verification.simulation.scenario import DEDUP_ROWS_LARGE, MEMORY_BYTES_LARGE
from verification.simulation.truth import (
    DEAD_LETTER_TOPIC,
    GROUP,
    PROFILES_TOPIC,
    TOPIC,
    USERS_TOPIC,
)
from verification.simulation.watch import Watch
from worker.core.counters.trail import Trail
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch
from worker.core.model.clock import Now
from worker.core.model.command import Finish
from worker.core.model.event import StopRequested
from worker.core.progress.ledger import Ledger
from worker.core.progress.pressure import MemoryGauge
from worker.daemon.app import CLOSING_SECONDS_MAX
from worker.daemon.assembly import ClockAndRandom, Parts, assemble
from worker.daemon.inbox import TURN_SECONDS_MAX
from worker.daemon.runner import Edges, Runner
from worker.edges.post_api.sink import excerpt_of
from worker.settings.schema import Settings
from worker.supervision import supervise

SPAN_MAX = 100
KEY = "a-key-that-nobody-sees"
IN_FLIGHT_MAX = 3
DRAIN_SECONDS = 6.0
POLL_MAX = 50
# With little memory: the bytes that may be fetched ahead, and the bytes of one answer. Each
# partition in an answer, and its last record, may exceed them.
FETCHED_BYTES_SMALL, ANSWER_BYTES_SMALL = 1_500, 3_000
FETCHED_BYTES_MAX = FETCHED_BYTES_SMALL + ANSWER_BYTES_SMALL + 2_000


PROFILES_ROUTES = (
    {"topic": PROFILES_TOPIC, "resource": "profiles", "parking": {"enabled": False}},
)


def settings(dedup_rows_max: int, *, has_profiles: bool, has_users: bool = False) -> Settings:
    """Short times in the required order, small batches, a short span: all bounds are reached."""
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": ModelKafka.bootstrap_servers,
                "group_id": GROUP,
                "session_timeout_seconds": 12,
                "heartbeat_interval_seconds": 1,
                "request_timeout_seconds": 9,
                "rebalance_timeout_seconds": 8,
                "drain_on_revoke_seconds": 3,
                "commit_timeout_seconds": 3,
                "poll_records_max": POLL_MAX,
                "stall_seconds": 8,
            },
            "routes": [
                {
                    "topic": TOPIC,
                    "select": {"$.application_id": [1, 2]},
                    "tombstones": "skip",
                },
                *(PROFILES_ROUTES if has_profiles else ()),
                *([{"topic": USERS_TOPIC, "resource": "profiles"}] if has_users else []),
            ],
            "dead_letter": {"topic": DEAD_LETTER_TOPIC},
            "appmetrica": {
                "applications": {1: {"post_api_key": f"{KEY}-1"}, 2: {"post_api_key": f"{KEY}-2"}},
                "read_timeout_seconds": TIMEOUT_SECONDS,
                "total_timeout_seconds": TIMEOUT_SECONDS,
            },
            "batching": {"rows_max": 20, "linger_seconds": 0.3},
            "dedup": {
                "key_header": "id",
                "rebuild_seconds_max": 5,
                "window_rows_max": dedup_rows_max,
            },
            "delivery": {
                "requests_in_flight_max": IN_FLIGHT_MAX,
                "backoff_max_seconds": 3,
                "hold_probe_seconds": 2,
                "breaker_failures_max": 4,
                "systemic_rows_min": 12,
                "bisect_requests_per_minute_max": 6000,
            },
            "limits": {"span_records_max": SPAN_MAX},
        }
    )


@contextmanager
def commits_seen(see: Callable[[str, Collection[TopicPartition]], None]) -> Iterator[None]:
    """Show each commit when it is handed to the client: its client id, and its partitions."""
    commit = vars(AIOKafkaConsumer)["commit"]

    async def seen(self: Any, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        see(self._client._client_id, offsets.keys())
        await commit(self, offsets)

    setattr(AIOKafkaConsumer, "commit", seen)  # noqa: B010  # a method can't be assigned to, says mypy
    try:
        yield
    finally:
        setattr(AIOKafkaConsumer, "commit", commit)  # noqa: B010


@dataclass(frozen=True, slots=True)
class Born:
    """The conditions in which a worker starts.

    `clock_ahead` returns the seconds by which its clock is ahead now.
    """

    seed: int
    memory_bytes_max: int
    dedup_rows_max: int = DEDUP_ROWS_LARGE
    has_users: bool = False
    clock_ahead: Callable[[], float] = lambda: 0.0
    has_profiles: bool = False


class WorkerLife:
    """A worker from its start to its end, by itself or by a kill."""

    def __init__(
        self, name: str, kafka: ModelKafka, api: ModelApi, born: Born, crashes: Crashes
    ) -> None:
        self.name = name
        self._crashes = crashes
        self._kafka = kafka
        self._api = api
        loop = asyncio.get_running_loop()
        # As if each event took a third of a turn: the time of the loop does not move while events
        # are handled.
        turns = count(0.0, TURN_SECONDS_MAX / 3)
        self._clock_ahead = born.clock_ahead
        clock_and_random = ClockAndRandom(
            Random(born.seed).random,
            lambda: UNIX_SECONDS + loop.time() + born.clock_ahead(),
            turn_clock=lambda: next(turns),
        )
        configuration = settings(
            born.dedup_rows_max, has_profiles=born.has_profiles, has_users=born.has_users
        )
        self.parts: Parts = assemble(configuration, name, lambda _: None, clock_and_random)
        self.parts.pipeline._ledger.memory = MemoryGauge(born.memory_bytes_max)
        if born.memory_bytes_max < MEMORY_BYTES_LARGE:
            options = self.parts.source._options
            poll = replace(options.poll, fetched_bytes_max=FETCHED_BYTES_SMALL)
            options = replace(options, poll=poll, fetch_bytes_max=ANSWER_BYTES_SMALL)
            self.parts.source._options = self.parts.source.membership._options = options
        self.watch = Watch(
            name, self.parts.pipeline, configuration, api.truth, born.memory_bytes_max
        )
        self._is_alive = True
        self.finish: Finish | None = None
        self._task = loop.create_task(crashes.noted(self._run()), name=f"worker {name}")

    @property
    def client_id(self) -> str:
        """Its client id in Kafka."""
        return self.parts.connection.client_id

    @property
    def is_running(self) -> bool:
        """True until its end."""
        return not self._task.done()

    @property
    def ledger(self) -> Ledger:
        """Its account of records."""
        return self.parts.pipeline._ledger

    def stop(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        self.parts.inbox.post(StopRequested(asyncio.get_running_loop().time() + DRAIN_SECONDS))

    async def ended(self) -> None:
        """Wait for its end, and raise the error that ended it, if any."""
        await asyncio.wait([self._task])
        self.check()
        self.watch.check_end()

    def check(self) -> None:
        """Raise the error that has ended a task of this worker, if any."""
        if (
            self._task.done()
            and not self._task.cancelled()
            and (error := self._task.exception()) is not None
        ):
            raise _first(error)

    async def kill(self) -> None:
        """End the worker as SIGKILL does: no request of it arrives any more."""
        self._is_alive = False
        self._kafka.network.cut_off(self.client_id)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        parts = self.parts
        edges = Edges(
            parts.source, _Sink(self._post, self._api.ask_time), parts.dead_letters, parts.parking
        )
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(
                    supervise(f"{self.name} {what}", work), name=f"{self.name} {what}"
                )
                for what, work in (
                    ("source", lambda: parts.source.run(diagnose=lambda _reason: None)),
                    ("missing topics", parts.source.watch_topics),
                    ("ends of partitions", parts.source.watch_ends),
                    ("dead letters", parts.dead_letters.run),
                    ("parking", parts.parking.run),
                )
            ]
            try:
                self.finish = await Runner(
                    parts.pipeline, parts.inbox, edges, self._clock, Trail()
                ).run()
            finally:
                for task in background:
                    task.cancel()
        # aiokafka's stop may raise, even CancelledError.
        closing = asyncio.gather(
            parts.source.close(),
            parts.dead_letters.close(),
            parts.parking.close(),
            return_exceptions=True,
        )
        # A close that hangs is abandoned, as the application does.
        await asyncio.wait([closing], timeout=CLOSING_SECONDS_MAX)
        for result in closing.result() if closing.done() else ():
            self._crashes.note(result)

    def _clock(self) -> Now:
        consumption = self.parts.source._consumption
        if (
            consumption is not None
            and consumption._options.poll.fetched_bytes_max == FETCHED_BYTES_SMALL
        ):
            held = sum(consumption._poller._fetched.sizes().values())
            self.watch.check_fetched(held, FETCHED_BYTES_MAX)
        now = asyncio.get_running_loop().time()
        ahead = self._clock_ahead()
        self.watch.books.had_wrong_clock |= ahead != 0
        return Now(now, UNIX_SECONDS + now + ahead)

    async def _post(self, batch: Batch, time_factor: int) -> Answer:
        key = self.parts.keys.key(batch.destination.application_id)
        sender = Sender(
            self.name,
            self.watch,
            lambda: self._is_alive,
            time_factor,
            lambda: self._clock_ahead() == 0,
        )
        answer = await self._api.post(batch, key, sender)
        # As the real sink does.
        return (
            replace(answer, excerpt=excerpt_of(answer.excerpt.encode(), key))
            if isinstance(answer, Response)
            else answer
        )


class _Sink:
    def __init__(
        self,
        post: Callable[[Batch, int], Coroutine[Any, Any, Answer]],
        ask_time: Callable[[], Coroutine[Any, Any, Answer]],
    ) -> None:
        self._post = post
        self.ask_time = ask_time

    async def post(self, batch: Batch, time_factor: int) -> Answer:
        """Post to the model of the API."""
        return await self._post(batch, time_factor)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
