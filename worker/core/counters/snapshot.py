"""The state of the worker at one moment, for metrics and for `/status`.

It is made on request and never kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.core.counters.counters import Counters
from worker.core.model.batch import Batch
from worker.core.model.clock import ClockStatus
from worker.core.model.record import Assignment

# An hour, six hours, a day.
EXPIRY_WINDOWS_SECONDS = (3600, 21_600, 86_400)


@dataclass(frozen=True, slots=True)
class HoldStatus:
    """An application on hold as operators see it.

    Times in Unix seconds; `rows` is the number of rows that wait here. `is_parking`: its records go
    to the parking topic, so that they don't stop other applications.
    """

    application_id: int
    reason: str
    since_unix_seconds: float
    next_probe_unix_seconds: float
    rows: int
    is_parking: bool


@dataclass(frozen=True, slots=True)
class ThrottleStatus:
    """An application that the API throttles.

    No request starts for another `paused_seconds`; `rows` is the number of rows that wait.
    """

    application_id: int
    reason: str
    since_unix_seconds: float
    paused_seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """The state of the API: its breaker, and requests in flight with their limit.

    While the breaker is not closed, `failing_because` is the reason of the latest failure, and
    `failing_since_unix_seconds` the time at which it opened. `next_probe_unix_seconds` is known
    while it is open.
    """

    breaker: str
    requests_in_flight_limit: int
    requests_in_flight: int
    failing_because: str | None = None
    failing_since_unix_seconds: float | None = None
    next_probe_unix_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The rows between the batchers and the API.

    `oldest_event_timestamp` in Unix seconds; None with no row there. `expiring_rows` counts rows
    whose event is too old within each of `EXPIRY_WINDOWS_SECONDS`.
    """

    destination: DestinationStatus
    holds: tuple[HoldStatus, ...]
    throttles: tuple[ThrottleStatus, ...]
    rows_in_flight: int
    rows_waiting: int
    oldest_event_timestamp: int | None
    expiring_rows: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition that is ours.

    Offsets; `committed` is None before there was a commit, `unsettled` a count of records.
    """

    assignment: Assignment
    position: int
    safe_position: int
    committed: int | None
    unsettled: int
    is_paused: bool
    is_draining: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of all components at one moment.

    `rows` counts the records held by stage: linked, batching, waiting, in_flight, dead_letter,
    parking. `imbalance` is the number of records that the counters can't explain: 0, or there is a
    fault in this program.
    """

    counters: Counters
    partitions: tuple[PartitionStatus, ...]
    holds: tuple[HoldStatus, ...]
    throttles: tuple[ThrottleStatus, ...]
    rows: dict[str, int]
    destination: DestinationStatus
    held_bytes: int
    dedup_window_rows: int
    dedup_keys_evicted: Mapping[str, int]
    oldest_event_timestamp: int | None
    expiring_rows: Mapping[int, int]
    imbalance: int
    is_stopping: bool
    is_dead_letter_blocked: bool
    is_parking_blocked: bool
    clock: ClockStatus


def expiring_rows(
    batches: Iterable[Batch], unix_seconds: float, event_age_seconds_max: float
) -> dict[int, int]:
    """Count the rows whose event is too old within each of `EXPIRY_WINDOWS_SECONDS`.

    Only batches with such a row are walked through.
    """
    too_old = unix_seconds - event_age_seconds_max
    end = too_old + max(EXPIRY_WINDOWS_SECONDS)
    timestamps = sorted(
        [
            timestamp
            for batch in batches
            if batch.oldest_event_timestamp < end
            for share in batch.shares.values()
            for timestamp in share.event_timestamps
            if timestamp < end
        ]
    )
    return {window: bisect_left(timestamps, too_old + window) for window in EXPIRY_WINDOWS_SECONDS}
