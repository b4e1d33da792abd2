"""The worker at one moment, as metrics and `/status` read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.core.counters.counters import Histogram
from worker.core.counters.forecast import Forecast
from worker.core.counters.snapshot import PartitionStatus, Snapshot
from worker.core.model.record import Assignment, End, TopicPartition
from worker.edges.telemetry.logs import RecentLogs


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What doesn't change while the worker runs.

    Attributes:
        version: of the worker.
        config_hash: digest of the configuration in use.
        topics: every topic that is read, parking topics included.
        parking_topics: the parking topic of each topic that has one.
        buffer_bytes_max: `limits.memory_bytes_max`.
        container_bytes_max: the memory limit of the container; None where there is none.
    """

    version: str
    config_hash: str
    topics: tuple[str, ...]
    parking_topics: Mapping[str, str]
    buffer_bytes_max: int
    container_bytes_max: int | None


@dataclass(frozen=True, slots=True)
class PartitionReading:
    """A partition and its end; `end` is None while it is not known."""

    status: PartitionStatus
    end: End | None
    unix_seconds: float

    @property
    def lag_records(self) -> int | None:
        """The offsets between the safe position and the end."""
        return None if self.end is None else max(0, self.end.stable - self.status.safe_position)

    @property
    def records_behind_transaction(self) -> int | None:
        """The written offsets that can't be read before an open transaction ends."""
        return None if self.end is None else self.end.behind_transaction

    @property
    def end_age_seconds(self) -> float | None:
        """The time since the end was read from the brokers."""
        if self.end is None:
            return None
        return round(max(0.0, self.unix_seconds - self.end.unix_seconds), 1)


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that a scrape or a status page shows, taken at one moment.

    Attributes:
        info: constants of this process.
        unix_seconds: the moment.
        snapshot: the state of the core.
        ends: the end of each assigned partition, as far as it is known.
        partition_errors: the partitions that can't be read, with the reason.
        consumer_rebuilds: how often the Kafka consumer was replaced.
        key_files_unusable: the applications whose key file can't be used now.
        not_ready_because: why `/readyz` answers 503; None while the worker is ready.
        forecast: what follows if the present rates continue.
        logs: counts of log lines and the latest errors.
        loop_lag_seconds: the delays of the event loop.
    """

    info: WorkerInfo
    unix_seconds: float
    snapshot: Snapshot
    ends: Mapping[Assignment, End]
    partition_errors: Mapping[TopicPartition, str]
    consumer_rebuilds: int
    key_files_unusable: Sequence[int]
    not_ready_because: str | None
    forecast: Forecast
    logs: RecentLogs
    loop_lag_seconds: Histogram

    @property
    def partitions(self) -> list[PartitionReading]:
        """The assigned partitions with their ends."""
        return [
            PartitionReading(status, self.ends.get(status.assignment), self.unix_seconds)
            for status in self.snapshot.partitions
        ]
