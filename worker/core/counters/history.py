"""The last 15 minutes of the worker, for the status page.

A page that is opened after an alert must show how the worker came to its state, and a small
installation has no Prometheus. So the worker itself remembers a point every `OBSERVE_SECONDS`: 90
points of a dozen numbers each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.core.counters.counters import Counters
from worker.core.counters.forecast import OBSERVE_SECONDS
from worker.core.counters.situation import Urgency

HISTORY_SECONDS = 900.0
POINTS_MAX = round(HISTORY_SECONDS / OBSERVE_SECONDS) + 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of records and requests since the start of the process, over all topics."""

    received: int = 0
    delivered: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    skipped: int = 0
    parked: int = 0
    requests: int = 0
    requests_failed: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The worker at one moment.

    Attributes:
        monotonic_seconds: the moment.
        totals: what was counted up to this moment.
        lag_records: the lag of all assigned partitions; None while it is not known.
        held_bytes: bytes of records in memory.
        urgency: of the worst situation.
    """

    monotonic_seconds: float
    totals: Totals
    lag_records: int | None
    held_bytes: int
    urgency: Urgency


@dataclass(frozen=True, slots=True)
class Flow:
    """Records and requests per second, measured over the last `measured_seconds`."""

    measured_seconds: float
    received: float
    delivered: float
    duplicates: float
    dead_lettered: float
    skipped: float
    parked: float
    requests: float
    requests_failed: float


@dataclass(frozen=True, slots=True)
class HistorySeries:
    """The history in columns, the oldest value first.

    A rate belongs to the time between its point and the point before.

    Attributes:
        ages_seconds: the age of each point.
        received_per_second: records received.
        delivered_per_second: records delivered.
        dead_lettered_per_second: records dead-lettered.
        requests_failed_per_second: requests with an answer other than 200, or without an answer.
        lag_records: the lag; None where it was not known.
        held_bytes: bytes of records in memory.
        urgency: of the worst situation.
    """

    ages_seconds: list[float]
    received_per_second: list[float]
    delivered_per_second: list[float]
    dead_lettered_per_second: list[float]
    requests_failed_per_second: list[float]
    lag_records: list[int | None]
    held_bytes: list[int]
    urgency: list[Urgency]


class History:
    """Remembers the points of the last `HISTORY_SECONDS`.

    Args:
        started_seconds: the start of the process, on the monotonic clock: all totals are 0.
    """

    def __init__(self, started_seconds: float) -> None:
        start = HistoryPoint(started_seconds, Totals(), None, 0, Urgency.OK)
        self._points: deque[HistoryPoint] = deque([start], maxlen=POINTS_MAX)

    def observe(self, point: HistoryPoint) -> None:
        """Remember a point; called every `OBSERVE_SECONDS`."""
        self._points.append(point)

    def flow(self, monotonic_seconds: float, totals: Totals) -> Flow | None:
        """Return the rates from a point at least `OBSERVE_SECONDS` ago until now.

        From the oldest point where none is that old; None where no time has passed.
        """
        before = next(
            (
                point
                for point in reversed(self._points)
                if monotonic_seconds - point.monotonic_seconds >= OBSERVE_SECONDS
            ),
            self._points[0],
        )
        seconds = monotonic_seconds - before.monotonic_seconds
        if seconds <= 0:
            return None

        def rate(read: Callable[[Totals], int]) -> float:
            return round((read(totals) - read(before.totals)) / seconds, 2)

        return Flow(
            measured_seconds=round(seconds, 1),
            received=rate(lambda counts: counts.received),
            delivered=rate(lambda counts: counts.delivered),
            duplicates=rate(lambda counts: counts.duplicates),
            dead_lettered=rate(lambda counts: counts.dead_lettered),
            skipped=rate(lambda counts: counts.skipped),
            parked=rate(lambda counts: counts.parked),
            requests=rate(lambda counts: counts.requests),
            requests_failed=rate(lambda counts: counts.requests_failed),
        )

    def series(self, monotonic_seconds: float) -> HistorySeries:
        """Return all points but the first: its rates would need a point before it."""
        points = list(self._points)
        later = points[1:]
        return HistorySeries(
            ages_seconds=[round(monotonic_seconds - point.monotonic_seconds, 1) for point in later],
            received_per_second=_rates(points, lambda counts: counts.received),
            delivered_per_second=_rates(points, lambda counts: counts.delivered),
            dead_lettered_per_second=_rates(points, lambda counts: counts.dead_lettered),
            requests_failed_per_second=_rates(points, lambda counts: counts.requests_failed),
            lag_records=[point.lag_records for point in later],
            held_bytes=[point.held_bytes for point in later],
            urgency=[point.urgency for point in later],
        )


def totals_of(account: Counters) -> Totals:
    """Return the totals over all topics."""
    topics = account.topics.values()
    requests = account.requests.total()
    return Totals(
        received=sum(topic.consumed for topic in topics),
        delivered=sum(topic.delivered for topic in topics),
        duplicates=sum(topic.duplicates for topic in topics),
        dead_lettered=sum(topic.dead_lettered.total() for topic in topics),
        skipped=sum(topic.skipped.total() for topic in topics),
        parked=sum(topic.parked for topic in topics),
        requests=requests,
        requests_failed=requests - account.requests["200"],
    )


def _rates(points: Sequence[HistoryPoint], read: Callable[[Totals], int]) -> list[float]:
    """Return the rate between each two points."""
    return [
        round(
            (read(later.totals) - read(earlier.totals))
            / max(later.monotonic_seconds - earlier.monotonic_seconds, 0.001),
            2,
        )
        for earlier, later in pairwise(points)
    ]
