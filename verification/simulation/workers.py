"""The workers of a history: each place has a worker, which is started again after its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator

from aiokafka.structs import TopicPartition

from verification.simulation.absences import reads_users
from verification.simulation.api_model import ModelApi
from verification.simulation.clocks import ahead, draw_jumps
from verification.simulation.crashes import Crashes
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.scenario import Scenario
from verification.simulation.worker_life import Born, WorkerLife
from worker.core.model.record import Assignment
from worker.errors import UnavailableError


class Workers:
    """Owns the lives of the workers, by place.

    Args:
        scenario: the history.
        kafka: the cluster.
        api: the API.
        say: adds a line to the account of the history.
        crashes: the crashes of the history.
    """

    def __init__(
        self,
        scenario: Scenario,
        kafka: ModelKafka,
        api: ModelApi,
        say: Callable[[str], None],
        crashes: Crashes,
    ) -> None:
        self._scenario = scenario
        self._kafka = kafka
        self._api = api
        self._say = say
        self._crashes = crashes
        self._workers: list[WorkerLife | None] = [None] * scenario.workers
        self._lives = 0
        self.jumps = draw_jumps(scenario.seed, scenario.workers, scenario.seconds)
        self.has_killed = False

    def __getitem__(self, place: int) -> WorkerLife | None:
        return self._workers[place]

    def __iter__(self) -> Iterator[WorkerLife]:
        return (worker for worker in self._workers if worker is not None)

    def held(self) -> set[TopicPartition]:
        """The partitions of which workers receive at this moment."""
        return {partition for worker in self for partition in worker.watch.held}

    def positions(self) -> dict[Assignment, int]:
        """The offset of the next record to be received, for each assignment of the workers."""
        return {
            assignment: offsets.tracker(assignment).position
            for offsets in [worker.ledger.offsets for worker in self]
            for assignment in offsets
        }

    def offsets_skipped(self) -> int:
        """How many offsets the workers have counted as skipped."""
        return sum(
            topic.offsets_skipped
            for worker in self
            for topic in worker.ledger.counters.topics.values()
        )

    def check_commit(self, client_id: str, partitions: Collection[TopicPartition]) -> None:
        """Check a commit of these partitions, which a worker's consumer is about to send."""
        for worker in self:
            if worker.client_id == client_id:
                worker.watch.check_commit(partitions)

    # --- lives ------------------------------------------------------------------------------------

    def start(self, place: int) -> None:
        """Start a worker in this place."""
        scenario = self._scenario
        self._lives += 1
        self._say(f"life {self._lives} starts")
        clock = asyncio.get_running_loop().time
        born = Born(
            scenario.seed * 100 + self._lives,
            scenario.memory_bytes_max,
            scenario.dedup_rows_max,
            reads_users(scenario),
            lambda: ahead(self.jumps, place, clock()),
            scenario.has_profiles,
        )
        self._workers[place] = WorkerLife(
            f"life-{self._lives}", self._kafka, self._api, born, self._crashes
        )

    def start_all(self) -> None:
        """Start a worker in each place."""
        for place in range(self._scenario.workers):
            self.start(place)

    def take_out(self, place: int) -> None:
        """Leave the place empty: the worker in it is about to end."""
        self._workers[place] = None

    async def kill(self, worker: WorkerLife) -> None:
        """End this worker as SIGKILL does."""
        self.has_killed = True
        await worker.kill()

    async def stop(self, worker: WorkerLife) -> None:
        """Stop this worker as SIGTERM does, and wait for its end."""
        worker.stop()
        await self._await_end(worker)

    async def restart_ended(self) -> None:
        """Start a worker in each place whose worker has ended, or that is empty."""
        for place, worker in enumerate(self._workers):
            if worker is None or not worker.is_running:
                if worker is not None:
                    await self._await_end(worker)
                self.start(place)

    async def stop_all(self) -> None:
        """Stop all workers, one after the other; none may give up now."""
        for worker in self:
            worker.stop()
            await worker.ended()

    async def _await_end(self, worker: WorkerLife) -> None:
        try:
            await worker.ended()
        except UnavailableError:
            self._say(f"{worker.name} gave up")
