"""Sees that a consumer is dead, and tells that from partitions that are away.

A consumer whose fetch task has died answers nothing for ever (aiokafka #983, #1037), and only
another one helps. A partition without a leader answers nothing either, and no other consumer would
get more of it: it comes back by itself. So of a partition that isn't fetched the brokers are asked,
over new connections. Where its leader answers, and goes on answering, while the consumer still
fetches nothing of it, the consumer is to blame.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka.errors import KafkaError

from worker.core.model.record import Assignment, TopicPartition
from worker.edges.kafka.offset_lookup import Bounds, Unavailable
from worker.edges.kafka.poller import Poller
from worker.edges.kafka.start_offsets import StartPositions
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# A partition that isn't fetched is asked for again after so long, and after longer each time.
ASK_SECONDS_FIRST = 5.0
ASK_SECONDS_MAX = 30.0

Answers = Mapping[TopicPartition, Bounds | Unavailable]


class Watchdog:
    """Watches one consumer, for as long as that one lives.

    Args:
        poller: says what isn't fetched.
        starts: asks the brokers.
    """

    def __init__(self, poller: Poller, starts: StartPositions) -> None:
        self._poller = poller
        self._starts = starts
        self._asking: asyncio.Task[Answers | str] | None = None
        self._ask_at = 0.0
        self._ask_seconds = ASK_SECONDS_FIRST
        # Of partitions that aren't fetched: what their leaders said the last time.
        self._answered: Answers = {}

    @property
    def unavailable(self) -> Mapping[Assignment, str]:
        """The partitions of ours that aren't fetched because they are away, and why."""
        silent = self._poller.silent()
        told = {one: self._answered.get(one.topic_partition) for one in silent}
        return {
            one: answer.reason for one, answer in told.items() if isinstance(answer, Unavailable)
        }

    def advance(self) -> str | None:
        """What shows that the consumer is dead; None while nothing does. Called once a second,
        never waits.
        """
        now = asyncio.get_running_loop().time()
        if self._asking is not None:
            return self._judge() if self._asking.done() else None
        failure = self._poller.failure()
        if failure is not None:
            return failure
        silent = {one.topic_partition for one in self._poller.silent()}
        self._answered = {
            partition: answer for partition, answer in self._answered.items() if partition in silent
        }
        if not self._answered:
            self._ask_at, self._ask_seconds = min(self._ask_at, now), ASK_SECONDS_FIRST
        if silent and now >= self._ask_at:
            self._asking = asyncio.create_task(
                self._ask(frozenset(silent)), name="silent partitions"
            )
        return None

    async def close(self) -> None:
        """End the question under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self, partitions: frozenset[TopicPartition]) -> Answers | str:
        """What the leaders say, or why none can be asked."""
        try:
            return await self._starts.bounds(partitions)
        except (KafkaError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            return "aiokafka cancelled the request"

    def _judge(self) -> str | None:
        if self._asking is None:
            return None
        answers = self._asking.result()
        self._asking = None
        self._ask_at = asyncio.get_running_loop().time() + self._ask_seconds
        self._ask_seconds = min(self._ask_seconds * 2, ASK_SECONDS_MAX)
        silent = self._poller.silent()
        seconds = f"{self._poller.stall_seconds:g} s"
        if isinstance(answers, str):
            is_all = bool(silent) and silent == self._poller.polled
            return (
                f"no fetch of any partition for {seconds}, and no broker answers: {answers}"
                if is_all
                else None
            )
        before, self._answered = self._answered, answers
        for one in sorted(silent):
            answer = answers.get(one.topic_partition)
            # Twice: a leader that has just come back is fetched from a moment later.
            if isinstance(answer, Bounds) and isinstance(before.get(one.topic_partition), Bounds):
                return f"no fetch of {one} for {seconds}, though its leader answers"
            if isinstance(answer, Unavailable):
                logger.error(
                    "partition_away",
                    extra={"partition": str(one.topic_partition), "detail": answer.reason},
                )
        return None
