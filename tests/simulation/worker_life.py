"""One worker in a history: assembled as in production, on a virtual loop, with the model's API in place of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from tests.simulation.api_model import ModelApi
from tests.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from tests.simulation.truth import DEAD_LETTER_TOPIC, GROUP, TOPIC, ViolationError
from worker.app import CLOSING_SECONDS_MAX
from worker.assembly import Nature, Parts, assemble
from worker.lasting import lasting
from worker.model.answer import Answer
from worker.model.batch import Batch
from worker.model.clock import Now
from worker.model.command import Command
from worker.model.event import Event, StopRequested
from worker.model.row import Row
from worker.runner import Edges, Runner
from worker.settings.schema import Settings

SPAN_MAX = 100
IN_FLIGHT_MAX = 3
DRAIN_SECONDS = 6.0
POLL_MAX = 50


def settings() -> Settings:
    """Short times in the order that is demanded, small batches, a short span: so that every bound is met."""
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
            "routes": [{"topic": TOPIC}],
            "dead_letter": {"topic": DEAD_LETTER_TOPIC},
            "appmetrica": {"applications": {1: {"post_api_key": "a"}, 2: {"post_api_key": "b"}}},
            "batching": {"rows_max": 20, "linger_seconds": 0.3},
            "dedup": {"key_header": "id", "rebuild_seconds_max": 5},
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


class WorkerLife:
    """A worker from its start to its end, of its own or by a kill."""

    def __init__(self, name: str, kafka: ModelKafka, api: ModelApi, seed: int) -> None:
        self.name = name
        self._kafka = kafka
        self._api = api
        loop = asyncio.get_running_loop()
        nature = Nature(Random(seed).random, lambda: UNIX_SECONDS + loop.time(), idle_seconds=0.2)
        self.parts: Parts = assemble(settings(), name, lambda _: None, nature)
        self._watch_the_pipeline()
        self._is_alive = True
        self._task = loop.create_task(self._run(), name=f"worker {name}")

    @property
    def client_id(self) -> str:
        """What Kafka knows it by."""
        return self.parts.connection.client_id

    @property
    def is_running(self) -> bool:
        """True until its end."""
        return not self._task.done()

    def stop(self) -> None:
        """As SIGTERM does."""
        self.parts.inbox.post(StopRequested(asyncio.get_running_loop().time() + DRAIN_SECONDS))

    async def ended(self) -> None:
        """Wait for its end; what ended it in an unseemly way is raised."""
        await asyncio.wait([self._task])
        self.check()

    def check(self) -> None:
        """Raise what a task of this worker has died of."""
        if self._task.done() and not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise _first(error)

    async def kill(self) -> None:
        """As SIGKILL does: from now on nothing of it reaches anybody."""
        self._is_alive = False
        self._kafka.cut_off(self.client_id)
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        parts = self.parts
        edges = Edges(parts.source, _Sink(self._post), parts.dead_letters, parts.parking)
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(lasting(f"{self.name} {what}", work), name=f"{self.name} {what}")
                for what, work in (
                    ("source", parts.source.run()),
                    ("dead letters", parts.dead_letters.run()),
                    ("parking", parts.parking.run()),
                )
            ]
            try:
                await Runner(parts.pipeline, parts.inbox, edges, self._clock).run()
            finally:
                for task in background:
                    task.cancel()
        closing = asyncio.gather(parts.source.close(), parts.dead_letters.close(), parts.parking.close())
        # As the application does: what hangs is left behind.
        await asyncio.wait([closing], timeout=CLOSING_SECONDS_MAX)

    def _clock(self) -> Now:
        now = asyncio.get_running_loop().time()
        return Now(now, UNIX_SECONDS + now)

    async def _post(self, batch: Batch) -> Answer:
        return await self._api.post(batch, self._may_send, lambda: self._is_alive)

    def _may_send(self, row: Row) -> bool:
        return row.assignment in self.parts.source._rebalances.ours

    def _watch_the_pipeline(self) -> None:
        """After each step the account balances and the bounds hold."""
        handle: Callable[[Event, Now], list[Command]] = self.parts.pipeline.handle
        ledger = self.parts.pipeline._ledger

        def watched(event: Event, now: Now) -> list[Command]:
            commands = handle(event, now)
            if ledger.imbalance():
                raise ViolationError("2 account", f"{ledger.imbalance()} records unexplained after {type(event).__name__}")
            for assignment in ledger.offsets:
                # A chunk is so many records; the offsets of markers and gaps come on top.
                if ledger.offsets.tracker(assignment).span > SPAN_MAX + 2 * POLL_MAX:
                    raise ViolationError("5 span", f"{assignment} reaches {ledger.offsets.tracker(assignment).span}")
            in_flight = self.parts.pipeline._dispatcher.destination().requests_in_flight
            if in_flight > IN_FLIGHT_MAX:
                raise ViolationError("5 in flight", f"{in_flight} requests")
            return commands

        self.parts.pipeline.handle = watched  # type: ignore[method-assign]


class _Sink:
    def __init__(self, post: Callable[[Batch], Coroutine[Any, Any, Answer]]) -> None:
        self._post = post

    async def post(self, batch: Batch) -> Answer:
        """As the API's model has it."""
        return await self._post(batch)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
