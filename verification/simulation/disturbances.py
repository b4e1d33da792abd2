"""Faults of workers and of brokers at the moments of a history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random

from verification.simulation.kafka_model import ModelKafka
from verification.simulation.scenario import Moment, Mood, Scenario
from verification.simulation.truth import GROUP
from verification.simulation.worker_life import WorkerLife
from verification.simulation.workers import Workers

# For this long all connections break repeatedly, within the second time after a look-up begins.
SILENT_SECONDS = 3.0
SILENCE_SECONDS_MAX = 0.02


class Disturbances:
    """Disturbs workers and brokers, and owns which workers are cut off.

    Args:
        scenario: the history.
        kafka: the cluster.
        workers: all workers.
        chance: draws how long faults last.
        say: adds a line to the account of the history.
    """

    def __init__(
        self,
        scenario: Scenario,
        kafka: ModelKafka,
        workers: Workers,
        chance: Random,
        say: Callable[[str], None],
    ) -> None:
        self._scenario = scenario
        self._kafka = kafka
        self._workers = workers
        self._chance = chance
        self._say = say
        self._cut_off_clients: set[str] = set()

    async def move(self) -> None:
        """Move the brokers to another address: the address that clients know leads nowhere."""
        if self._scenario.move_seconds is not None:
            await asyncio.sleep(self._scenario.move_seconds)
            self._say("the brokers move")
            self._kafka.network.move()

    async def at(self, moment: Moment) -> None:
        """Wait for the moment, and apply its fault to its worker or to the brokers."""
        await asyncio.sleep(moment.seconds)
        worker = self._workers[moment.worker]
        if worker is None:
            return
        self._say(f"{moment.what} {worker.name}")
        match moment.what:
            case "kill" | "stop" | "replace":
                await self._end(worker, moment)
            case "zombie":
                await self._cut_off(worker)
            case "silence":
                self._kafka.network.silence_connections(
                    but_memberships=self._scenario.mood is not Mood.WILD
                )
            case "rebalance":
                self._kafka.coordinator.force_rebalance(GROUP)
            case "expire":
                self._kafka.coordinator.expire_session(GROUP, worker.client_id)
            case "brokers":
                self._kafka.network.take_down()
                await asyncio.sleep(self._chance.uniform(0.5, 6))
                self._kafka.network.bring_up()
            case "scribble":
                self._kafka.coordinator.damage_metadata(GROUP)
            case "hang":
                self._kafka.network.hang()
                await asyncio.sleep(self._chance.uniform(2, 16))
                self._kafka.network.bring_up()
            case _:
                raise AssertionError(f"no such moment: {moment.what}")

    async def _end(self, worker: WorkerLife, moment: Moment) -> None:
        """End the worker, and start another in its place: at once where it is replaced."""
        self._workers.take_out(moment.worker)
        await (self._kill(worker) if moment.what == "kill" else self._workers.stop(worker))
        if moment.what != "replace":
            await asyncio.sleep(self._chance.uniform(0.1, 3))
        self._workers.start(moment.worker)
        if moment.what == "replace":
            await self._silence()

    async def _kill(self, worker: WorkerLife) -> None:
        worker.check()
        if self._scenario.mood is Mood.STEADY:
            worker.watch.check_committed(
                lambda partition: self._kafka.coordinator.committed(GROUP, partition),
                asyncio.get_running_loop().time(),
            )
        await self._workers.kill(worker)

    async def _silence(self) -> None:
        """Break all connections repeatedly, while workers look up what they have taken over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENT_SECONDS):
                while True:
                    await self._kafka.await_onlooker()
                    await asyncio.sleep(self._chance.uniform(0, SILENCE_SECONDS_MAX))
                    self._kafka.network.silence_connections()

    async def _cut_off(self, worker: WorkerLife) -> None:
        """Cut this worker off from the brokers for a while, even if it is dead already."""
        if worker.client_id in self._cut_off_clients:
            return
        self._cut_off_clients.add(worker.client_id)
        self._kafka.network.cut_off(worker.client_id)
        await asyncio.sleep(self._chance.uniform(1, 20))
        if worker.is_running:
            self._cut_off_clients.discard(worker.client_id)
            self._kafka.network.reconnect(worker.client_id)
