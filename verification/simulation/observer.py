"""What can be seen of workers at the brokers: their commits, and what they write to topics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import ModelKafka
from verification.simulation.leaks import Leaks
from verification.simulation.truth import DEAD_LETTER_TOPIC, PARKING_TOPIC, Truth
from verification.simulation.violation import ViolationError

# All requests of one commit are sent within this time. A commit may be refused for its size this
# often, because the answer may be lost each time.
COMMIT_ROUND_SECONDS = 1.0
REFUSALS_MAX = 3


class Observer:
    """Reports to the truth, and owns how far it has read the topics that workers write to."""

    def __init__(self, kafka: ModelKafka, truth: Truth, leaks: Leaks) -> None:
        self._kafka = kafka
        self._truth = truth
        self._leaks = leaks
        self._read_to: dict[TopicPartition, int] = {}
        self._refusals_for_size: dict[str, list[float]] = {}

    def on_commit(
        self, _group: str, _client_id: str, positions: Mapping[TopicPartition, tuple[int, str]]
    ) -> None:
        """Check a commit that the coordinator has accepted."""
        self.read_topics()
        for partition, (offset, metadata) in positions.items():
            self._leaks.check(metadata)
            self._truth.take_commit(partition, offset, metadata)

    def on_refusal_for_size(self, client_id: str, size: int) -> None:
        """Check that commits get smaller after a refusal for size, unless answers are lost."""
        now = asyncio.get_running_loop().time()
        refusals = self._refusals_for_size.setdefault(client_id, [])
        if not refusals or now - refusals[-1] >= COMMIT_ROUND_SECONDS:
            refusals.append(now)
        if len(refusals) > REFUSALS_MAX:
            raise ViolationError(
                "8 metadata",
                f"{client_id} commits what is refused for its size, {size} now: at {refusals}",
            )

    def read_topics(self) -> None:
        """Take note of what has been written to the dead-letter topic and to the parking topic."""
        for topic in (DEAD_LETTER_TOPIC, PARKING_TOPIC):
            for partition, last in self._kafka.last_offsets(topic).items():
                read_to = self._read_to.get(partition, -1)
                for record in self._kafka.records_after(partition, read_to):
                    self._truth.write(topic, dict(record.headers))
                    headers = (value.decode("utf-8", "replace") for _, value in record.headers)
                    self._leaks.check(*headers)
                self._read_to[partition] = last
