"""What aiokafka's fetcher has ready: what it has fetched before anybody asked for it.

aiokafka has no public way to tell which partitions have records, or to wait for any of them without
taking some. To poll each partition fifty times a second instead costs a tenth of a core with 300
partitions. So this reads aiokafka's private parts, in this file alone, and fails at once with a
consumer that lacks them.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.structs import TopicPartition as ClientPartition


class Fetched:
    """The records and errors that wait in one consumer.

    Args:
        consumer: started. `news` is set whenever something has been fetched; who waits for it
            clears it.

    Raises:
        AttributeError: aiokafka has changed.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        fetcher = consumer._fetcher
        if fetcher is None:
            raise RuntimeError("the consumer has not been started")
        self._fetcher = fetcher
        self._results = self._fetcher._records
        self.news = asyncio.Event()
        self._await_news()

    def ready(self) -> list[ClientPartition]:
        """The partitions of which something waits, what was fetched first before the rest.

        `getmany` takes it, or raises it.
        """
        return list(self._results)

    def holds(self, partition: ClientPartition) -> bool:
        """True if something of this partition waits."""
        return partition in self._results

    def sizes(self) -> dict[ClientPartition, int]:
        """Of each of these partitions how many bytes wait, as they were fetched, before
        decompression.
        """
        return {partition: _size(result) for partition, result in self._results.items()}

    def _await_news(self) -> None:
        self._fetcher._create_fetch_waiter().add_done_callback(self._have_news)

    def _have_news(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.cancelled():
            # An error of the group's coordinator comes this way too. The next poll raises it.
            waiter.exception()
        self.news.set()
        if not self._fetcher._closed:
            self._await_news()


def _size(result: FetchResult | FetchError) -> int:
    records = result._partition_records if isinstance(result, FetchResult) else None
    return records._records.size_in_bytes() if records is not None else 0
