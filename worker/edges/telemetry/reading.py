"""The worker at one moment, as metrics and `/status` read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from worker.core.counters.counters import Histogram
from worker.core.counters.diagnosis import situations, worst
from worker.core.counters.forecast import Forecast
from worker.core.counters.history import Flow, History, HistoryPoint, totals_of
from worker.core.counters.situation import Circumstances, Situation
from worker.core.counters.snapshot import HoldStatus, PartitionStatus, Snapshot, ThrottleStatus
from worker.core.model.record import Assignment, End, TopicPartition
from worker.edges.telemetry.log_filters import RecentLogs


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
        host: the name of the machine or of the pod.
        group_id: `kafka.group_id`.
        started_unix_seconds: the start of the process.
        applications: the configured applications.
        span_records_max: `limits.span_records_max`.
    """

    version: str
    config_hash: str
    topics: tuple[str, ...]
    parking_topics: Mapping[str, str]
    buffer_bytes_max: int
    container_bytes_max: int | None
    host: str
    group_id: str
    started_unix_seconds: float
    applications: tuple[int, ...]
    span_records_max: int


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """Spans of traces since the start of the process; 0 while no traces are made.

    Attributes:
        exported: the collector has accepted them.
        failed: the collector was not there, or has refused them.
        dropped: the queue was full.
    """

    exported: int = 0
    failed: int = 0
    dropped: int = 0


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
class ApplicationReading:
    """A configured application.

    Attributes:
        application_id: its number.
        state: delivering, held or throttled.
        key: usable, refused by the API, or file_unusable: the previous key stays in use.
        reason: of the hold or the throttling; None without.
        since_unix_seconds: start of the hold or the throttling.
        next_request_unix_seconds: the probe of the hold, or the next request while throttled.
        rows: rows that wait here because of it.
        is_parking: its records are written to the parking topic.
    """

    application_id: int
    state: str
    key: str
    reason: str | None = None
    since_unix_seconds: float | None = None
    next_request_unix_seconds: float | None = None
    rows: int = 0
    is_parking: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that a scrape or a status page shows, taken at one moment.

    Attributes:
        info: constants of this process.
        unix_seconds: the moment.
        monotonic_seconds: the moment on the monotonic clock.
        snapshot: the state of the core.
        ends: the end of each assigned partition, as far as it is known.
        partition_errors: the partitions that can't be read, with the reason.
        consumer_rebuilds: how often the Kafka consumer was replaced.
        key_files_unusable: the applications whose key file can't be used now.
        not_ready_because: why `/readyz` answers 503; None while the worker is ready.
        forecast: what follows if the present rates continue.
        logs: counts of log lines and the latest errors.
        loop_lag_seconds: the delays of the event loop.
        history: the last 15 minutes.
        stop_deadline_unix_seconds: the end of the drain; None while the worker isn't stopping.
        spans: the spans of traces.
    """

    info: WorkerInfo
    unix_seconds: float
    monotonic_seconds: float
    snapshot: Snapshot
    ends: Mapping[Assignment, End]
    partition_errors: Mapping[TopicPartition, str]
    consumer_rebuilds: int
    key_files_unusable: Sequence[int]
    not_ready_because: str | None
    forecast: Forecast
    logs: RecentLogs
    loop_lag_seconds: Histogram
    history: History
    stop_deadline_unix_seconds: float | None
    spans: SpanCounts

    @property
    def partitions(self) -> list[PartitionReading]:
        """The assigned partitions with their ends."""
        return [
            PartitionReading(status, self.ends.get(status.assignment), self.unix_seconds)
            for status in self.snapshot.partitions
        ]

    @property
    def lag_records(self) -> int | None:
        """The lag of all assigned partitions; None while an end is not known."""
        lags = [partition.lag_records for partition in self.partitions]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if len(known) == len(lags) else None

    @property
    def situations(self) -> list[Situation]:
        """The situations of the worker, the most urgent situation first."""
        ages = [self.unix_seconds - end.unix_seconds for end in self.ends.values()]
        return situations(
            Circumstances(
                unix_seconds=self.unix_seconds,
                snapshot=self.snapshot,
                forecast=self.forecast,
                lag_records=self.lag_records,
                end_age_seconds=max(ages, default=None),
                not_ready_because=self.not_ready_because,
                unreadable={str(place): why for place, why in self.partition_errors.items()},
                key_files_unusable=tuple(self.key_files_unusable),
                stop_deadline_unix_seconds=self.stop_deadline_unix_seconds,
                started_unix_seconds=self.info.started_unix_seconds,
            )
        )

    @property
    def flow(self) -> Flow | None:
        """The rates of the last seconds."""
        return self.history.flow(self.monotonic_seconds, totals_of(self.snapshot.counters))

    @property
    def applications(self) -> list[ApplicationReading]:
        """The configured applications: those with a hold, a throttling or a bad key first."""
        unusable = frozenset(self.key_files_unusable)
        found = [_held(hold, unusable) for hold in self.snapshot.holds]
        known = {one.application_id for one in found}
        found += [
            _throttled(throttle, self.unix_seconds, unusable)
            for throttle in self.snapshot.throttles
            if throttle.application_id not in known
        ]
        known |= {one.application_id for one in found}
        others = [number for number in self.info.applications if number not in known]
        others.sort(key=lambda number: number not in unusable)
        return found + [
            ApplicationReading(number, "delivering", _key(number, unusable)) for number in others
        ]

    def history_point(self) -> HistoryPoint:
        """Return what the history remembers of this moment."""
        return HistoryPoint(
            monotonic_seconds=self.monotonic_seconds,
            totals=totals_of(self.snapshot.counters),
            lag_records=self.lag_records,
            held_bytes=self.snapshot.held_bytes,
            urgency=worst(self.situations),
        )


def _held(hold: HoldStatus, unusable: Set[int]) -> ApplicationReading:
    is_refused = hold.reason in ("http_401", "http_403")
    return ApplicationReading(
        application_id=hold.application_id,
        state="held",
        key="refused" if is_refused else _key(hold.application_id, unusable),
        reason=hold.reason,
        since_unix_seconds=hold.since_unix_seconds,
        next_request_unix_seconds=hold.next_probe_unix_seconds,
        rows=hold.rows,
        is_parking=hold.is_parking,
    )


def _throttled(
    throttle: ThrottleStatus, unix_seconds: float, unusable: Set[int]
) -> ApplicationReading:
    return ApplicationReading(
        application_id=throttle.application_id,
        state="throttled",
        key=_key(throttle.application_id, unusable),
        reason=throttle.reason,
        since_unix_seconds=throttle.since_unix_seconds,
        next_request_unix_seconds=unix_seconds + throttle.paused_seconds,
        rows=throttle.rows,
    )


def _key(application_id: int, unusable: Set[int]) -> str:
    return "file_unusable" if application_id in unusable else "usable"
