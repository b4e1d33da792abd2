"""Bounds what the client fetches ahead, over all partitions together.

aiokafka keeps a fetch of every partition ready, even if it isn't polled, and has a bound for each
partition only. A producer's batch of a megabyte arrives as a whole, however small that bound is, so
300 paused partitions could hold 300 MB. The client doesn't fetch a partition that is paused in it:
so the bound is kept by pausing. (A rebalance resets the pause, and a poll discards the records that
were fetched before it.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka.aiokafka_internals.consumer import Fetched


class FetchBudget:
    """Which partitions of one consumer are fetched.

    There are two marks, or it would switch all the time: beyond `bytes_max` no more is fetched,
    until the fetched bytes fall to half of it. Records of resting partitions are discarded first,
    and are fetched again later. Answers that are on their way, one from each broker, may exceed the
    bound.

    Args:
        consumer: a started member of the group.
        fetched: the fetched records.
        bytes_max: as they were fetched, before decompression.
    """

    def __init__(self, consumer: AIOKafkaConsumer, fetched: Fetched, bytes_max: int) -> None:
        self._consumer = consumer
        self._fetched = fetched
        self._bytes_max = bytes_max
        self._put_off: set[ClientPartition] = set()

    def puts_off(self, partition: ClientPartition) -> bool:
        """Return whether this partition is not fetched now."""
        return partition in self._put_off

    def begin(self, partitions: Set[ClientPartition]) -> None:
        """Budget for these partitions from now on.

        The client's flags are read again, because each rebalance resets them.
        """
        self._put_off = self._consumer.paused() & partitions

    def balance(
        self, positions: Mapping[ClientPartition, int], resting: Set[ClientPartition]
    ) -> None:
        """Put off fetching, or begin again.

        Args:
            positions: all partitions that are ours, each with the next expected offset.
            resting: the partitions among them of which nothing is received now.

        Raises:
            IllegalStateError: a partition isn't ours any more.
        """
        sizes = {
            partition: size
            for partition, size in self._fetched.sizes().items()
            if partition in positions
        }
        held, low = sum(sizes.values()), self._bytes_max // 2
        put_off = self._put_off & positions.keys()
        thrown_away: list[ClientPartition] = []
        is_high = held > self._bytes_max
        if is_high or (held > low and not put_off <= resting):
            for partition in reversed([one for one in sizes if one in resting]):
                if held <= low:
                    break
                held -= sizes.pop(partition)
                thrown_away.append(partition)
            put_off |= resting - sizes.keys()
        if held <= low:
            put_off &= resting
        elif is_high:
            put_off |= positions.keys() - sizes.keys()
        self._put_off_exactly(put_off)
        for partition in thrown_away:
            self._consumer.seek(partition, positions[partition])

    def rest(self, partitions: Collection[ClientPartition]) -> None:
        """Fetch nothing more of any of these partitions, because nothing is received."""
        self._put_off_exactly(set(partitions))

    def _put_off_exactly(self, partitions: set[ClientPartition]) -> None:
        if partitions != self._put_off:
            assigned = self._consumer.assignment()
            self._consumer.pause(*(partitions - self._put_off & assigned))
            self._consumer.resume(*(self._put_off - partitions & assigned))
            self._put_off = partitions
