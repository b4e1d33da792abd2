"""What a parked record looks like: the record as it came, and headers that say where it was first received."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.edges.kafka_client import KafkaConnection
from worker.edges.topic_writer import Duty, Outgoing, TopicWriter
from worker.model.event import Event, ParkingAcknowledged, ParkingFailed
from worker.model.headers import PARKED_PREFIX, origin
from worker.model.row import Row


def parking_writer(connection: KafkaConnection, topics: Mapping[str, str], post: Callable[[Event], None]) -> TopicWriter[Row]:
    """The way to the parking topics.

    Args:
        connection: the brokers.
        topics: the parking topic of each topic that has one.
        post: takes `ParkingAcknowledged` and `ParkingFailed`.
    """

    def outgoing(row: Row) -> Outgoing:
        # One application's rows in one partition: where several are held, one that has healed doesn't wait behind another.
        application_id = row.destination.application_id
        return Outgoing(topics[row.assignment.topic], row.record.key, row.record.value, headers(row), spread=application_id)

    return TopicWriter(connection, Duty(outgoing, None, ParkingAcknowledged, ParkingFailed), post)


def headers(row: Row) -> list[tuple[str, bytes]]:
    """The record's headers as they are, and ours behind them."""
    record, assignment = row.record, row.assignment
    first = origin(record, assignment.topic, assignment.partition)
    kept = [(name, value) for name, value in record.headers if not name.startswith(PARKED_PREFIX)]
    ours = {"topic": first.topic, "partition": first.partition, "offset": first.offset, "timestamp": first.timestamp}
    return kept + [(PARKED_PREFIX + name, value) for name, value in ours.items()]
