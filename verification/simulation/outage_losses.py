"""Logs that lose records while the API is away: by retention, and by an unclean election.

Records that a worker has received by then are in its memory. Retention must not take them from it;
an unclean election may, and then they are read again, as far as the log still has them. A commit
has no epoch: until a worker notices the election, its commits are about the records of before.
"""

from __future__ import annotations

import asyncio
from random import Random

from aiokafka.structs import TopicPartition as ClientPartition

from verification.simulation.api_model import ModelApi
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.producers import Producers
from verification.simulation.scenario import Scenario
from verification.simulation.truncations import STABLE_SECONDS
from verification.simulation.truth import TOPIC, Published, Truth
from verification.simulation.violation import ViolationError
from verification.simulation.workers import Workers
from worker.core.model.record import Assignment

RECEIVED_MAX, UNREAD_MAX, LATER_MAX = 120, 80, 40


class OutageLosses:
    """Lets logs lose records in an outage, and owns what retention removed unread."""

    def __init__(
        self,
        scenario: Scenario,
        kafka: ModelKafka,
        truth: Truth,
        api: ModelApi,
        workers: Workers,
    ) -> None:
        self._chance = Random(scenario.seed + 9)
        # Few enough for an API that takes seconds for a row.
        self._records_max = scenario.records // 4
        self._kafka = kafka
        self._truth = truth
        self._api = api
        self._workers = workers
        self._removed: list[Published] = []
        # The assignments that have read the log of before the election.
        self._outdated: set[Assignment] = set()
        self._skipped_before = 0

    async def play(self, producers: Producers) -> bool:
        """Let some partitions lose records in an outage. Returns True if there was one."""
        chance = self._chance
        if chance.random() < 0.6:
            return False
        await asyncio.sleep(STABLE_SECONDS)
        self._skipped_before = self._workers.offsets_skipped()
        self._api.go_away()
        self._publish(producers, 1, RECEIVED_MAX)
        await asyncio.sleep(chance.uniform(0.5, 10.0))
        self._publish(producers, 0, UNREAD_MAX)
        # In the same turn of the loop: no worker has received the last records.
        self._truth.is_outdated = lambda partition: any(
            one in self._outdated and one.topic_partition == tuple(partition)
            for one in self._workers.positions()
        )
        for assignment, position in self._workers.positions().items():
            if assignment.topic == TOPIC:
                self._lose(assignment, position)
        self._publish(producers, 1, LATER_MAX)
        await asyncio.sleep(chance.uniform(0.5, 10.0))
        self._api.heal()
        return True

    def _publish(self, producers: Producers, least: int, most: int) -> None:
        for _ in range(min(self._chance.randint(least, most), self._records_max)):
            producers.publish_valid()

    def _lose(self, assignment: Assignment, position: int) -> None:
        """Let the log lose records; `position` is the offset of the next record to be received."""
        partition = ClientPartition(*assignment.topic_partition)
        committed = self._truth.committed.get(partition, 0)
        draw = self._chance.random()
        if draw < 0.4:
            start = self._chance.randint(committed, self._kafka.end(partition))
            self._kafka.truncate(*partition, start)
            self._removed += self._truth.remove(partition, position, start)
        elif draw < 0.8 and committed < position:
            # Below what was received: otherwise the worker need not notice.
            cut = self._chance.randint(committed, position - 1)
            self._kafka.elect_uncleanly(partition, cut)
            self._truth.forget(partition, cut)
            self._outdated.add(assignment)

    def check_end(self) -> None:
        """Check that each record that retention removed was delivered, or counted as skipped."""
        lost = [one.event for one in self._removed if not self._truth.accepted[one.event]]
        counted = self._workers.offsets_skipped() - self._skipped_before
        if len(lost) > counted:
            raise ViolationError(
                "2 skipped offsets", f"{len(lost)} removed, {counted} counted: {lost[:5]}"
            )
