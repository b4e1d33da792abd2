"""Sees that a consumer is dead, and tells a dead consumer from partitions that are away.

A consumer whose fetch task has died answers nothing for ever (aiokafka #983, #1037), and only
another consumer helps. A partition without a leader answers nothing either, and another consumer
would get no more of it: it comes back by itself. So the leaders of silent partitions are asked over
new connections. Where a leader answers, and goes on answering, while the consumer still fetches
nothing of the partition, the consumer is to blame.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping

from aiokafka.errors import KafkaError

from worker.core.model.record import Assignment, TopicPartition
from worker.edges.kafka.offset_lookup import LogBounds, Unavailable
from worker.edges.kafka.partition_health import PartitionHealth
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# A silent partition is asked for again after this time, which doubles with each question.
ASK_SECONDS_FIRST = 5.0
ASK_SECONDS_MAX = 30.0

Answers = Mapping[TopicPartition, LogBounds | Unavailable]


class Watchdog:
    """Watches one consumer, for as long as that consumer lives.

    Args:
        health: which partitions fail or are silent.
        look_up: asks the leaders of partitions.
    """

    def __init__(
        self,
        health: PartitionHealth,
        look_up: Callable[[Collection[TopicPartition]], Awaitable[Answers]],
    ) -> None:
        self._health = health
        self._look_up = look_up
        self._asking: asyncio.Task[Answers | str] | None = None
        self._ask_at = 0.0
        self._ask_seconds = ASK_SECONDS_FIRST
        # The last answers of the leaders of silent partitions.
        self._answered: Answers = {}

    @property
    def unavailable(self) -> Mapping[Assignment, str]:
        """Our partitions of which nothing is fetched because they are away, and why."""
        answers = {one: self._answered.get(one.topic_partition) for one in self._health.silent()}
        return {
            one: answer.reason for one, answer in answers.items() if isinstance(answer, Unavailable)
        }

    def advance(self) -> str | None:
        """What shows that the consumer is dead; None while nothing does.

        Called once a second, never waits.
        """
        now = asyncio.get_running_loop().time()
        if self._asking is not None:
            return self._conclude(self._asking.result()) if self._asking.done() else None
        failure = self._health.failure()
        if failure is not None:
            return failure
        silent = frozenset(one.topic_partition for one in self._health.silent())
        self._answered = {
            partition: answer for partition, answer in self._answered.items() if partition in silent
        }
        if not self._answered:
            self._ask_at, self._ask_seconds = min(self._ask_at, now), ASK_SECONDS_FIRST
        if silent and now >= self._ask_at:
            self._asking = asyncio.create_task(self._ask(silent), name="silent partitions")
        return None

    async def close(self) -> None:
        """End the question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self, partitions: frozenset[TopicPartition]) -> Answers | str:
        """The answers of the leaders, or why none can be asked."""
        try:
            return await self._look_up(partitions)
        except (KafkaError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "aiokafka cancelled the request"

    def _conclude(self, answers: Answers | str) -> str | None:
        self._asking = None
        self._ask_at = asyncio.get_running_loop().time() + self._ask_seconds
        self._ask_seconds = min(self._ask_seconds * 2, ASK_SECONDS_MAX)
        silent = self._health.silent()
        seconds = f"{self._health.stall_seconds:g} s"
        if isinstance(answers, str):
            if not silent or silent != self._health.polled:
                return None
            return f"no fetch of any partition for {seconds}, and no broker answers: {answers}"
        before, self._answered = self._answered, answers
        for one in sorted(silent):
            answer = answers.get(one.topic_partition)
            # Twice: a leader that has just come back is fetched from a moment later.
            if isinstance(answer, LogBounds) and isinstance(
                before.get(one.topic_partition), LogBounds
            ):
                return f"no fetch of {one} for {seconds}, though its leader answers"
            if isinstance(answer, Unavailable):
                fields = {"partition": str(one.topic_partition), "detail": answer.reason}
                logger.error("partition_away", extra=fields)
        return None
