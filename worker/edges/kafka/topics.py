"""Which of the topics are there. aiokafka refuses to start over a single one that isn't."""

from __future__ import annotations

import asyncio
import logging

from aiokafka.errors import KafkaError

from worker.edges.kafka.client import KafkaConnection
from worker.supervision import is_cancelled_from_within

logger = logging.getLogger("worker.kafka")

# How often topics that are missing are looked for.
LOOK_SECONDS = 30.0


class Topics:
    """The topics of all routes, and which of them exist.

    Args:
        connection: the brokers.
        wanted: all of them.
        optional: those that may be missing without an error: they are made when they are first
            needed.
        look_seconds: how often those that are missing are looked for.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        wanted: tuple[str, ...],
        optional: frozenset[str],
        look_seconds: float,
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._optional = optional
        self._look_seconds = look_seconds
        self.present: list[str] = []

    async def look(self) -> None:
        """See which exist.

        Raises:
            aiokafka.errors.KafkaError: the brokers can't be asked.
        """
        admin = self._connection.admin()
        try:
            await admin.start()
            known = set(await admin.list_topics())
        finally:
            await admin.close()
        self.present = [topic for topic in self._wanted if topic in known]
        for topic in self._wanted:
            if topic not in known:
                level = logging.WARNING if topic in self._optional else logging.ERROR
                logger.log(
                    level,
                    "topic_missing",
                    extra={"topic": topic, "retry_seconds": self._look_seconds},
                )

    async def find_missing(self) -> None:
        """See which exist by now, where any is missing; brokers that can't be asked are asked
        another time.
        """
        if len(self.present) == len(self._wanted):
            return
        try:
            await self.look()
        except (KafkaError, OSError) as error:
            logger.warning(
                "topics_not_looked_for", extra={"detail": f"{type(error).__name__}: {error}"}
            )
        except asyncio.CancelledError:
            if not is_cancelled_from_within():
                raise
            logger.warning(
                "topics_not_looked_for", extra={"detail": "aiokafka cancelled the request"}
            )
