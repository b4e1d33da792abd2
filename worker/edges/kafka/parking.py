"""The form of a parked record: the record as it came, and headers that name its first place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from worker.core.model.event import Event, ParkingAcknowledged, ParkingFailed
from worker.core.model.row import Row
from worker.core.wire.record_headers import PARKED_PREFIX, origin
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.producer import Outgoing
from worker.edges.kafka.writer import TopicWriter, WriterSpec


def parking_writer(
    connection: KafkaConnection,
    topics: Mapping[str, str],
    applications: Collection[int],
    post: Callable[[Event], None],
) -> TopicWriter[Row]:
    """Make the writer for the parking topics.

    Args:
        connection: the brokers.
        topics: the parking topic of each topic that has one.
        applications: all whose records may be parked. Each has a partition of its own in a topic
            with as many partitions.
        post: takes `ParkingAcknowledged` and `ParkingFailed`.
    """
    # Of several applications on hold, one that has recovered must not wait behind another. By rank:
    # ids of any pattern may collide.
    ranks = {application_id: rank for rank, application_id in enumerate(sorted(applications))}

    def outgoing(row: Row) -> Outgoing:
        rank = ranks[row.destination.application_id]
        return Outgoing(
            topics[row.assignment.topic],
            row.record.key,
            row.record.value,
            headers(row),
            spread=rank,
        )

    return TopicWriter(
        connection, WriterSpec(outgoing, None, ParkingAcknowledged, ParkingFailed), post
    )


def headers(row: Row) -> list[tuple[str, bytes | None]]:
    """The record's own headers, and ours behind them."""
    record, assignment = row.record, row.assignment
    first = origin(record, assignment.topic, assignment.partition)
    kept = [(name, value) for name, value in record.headers if not name.startswith(PARKED_PREFIX)]
    ours = {
        "topic": first.topic,
        "partition": first.partition,
        "offset": first.offset,
        "timestamp": first.timestamp,
    }
    return [*kept, *((PARKED_PREFIX + name, value) for name, value in ours.items())]
