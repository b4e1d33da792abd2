"""Forecasts from the recent rates: when the lag is gone, when events are lost, how many workers.

All assume that the rates of the last minutes continue. With

    L  lag in records               r  records settled per second
    p  records produced per second  A  maximum age of an event
    a  age of the oldest event that waits for delivery

the lag is gone after L / (r - p), or never if r <= p. Events in the lag have ages from a down to 0,
spread evenly over it, and are settled in order. The event at place x of the lag is settled after
x / r and expires after A - a (1 - x / L): the first loss is at

    x = (A - a) / (1 / r - a / L)

if that lies within the lag. If the lag grows, an event that is produced at time t waits for
(L + (p - r) t) / r: loss begins with the event of t = (r A - L) / (p - r), which expires at t + A.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.counters.snapshot import Snapshot
from worker.core.model.record import Assignment, End

# Rates are measured over this window, from observations every `OBSERVE_SECONDS`.
OBSERVE_SECONDS = 10.0
WINDOW_SECONDS = 300.0
# A shorter time gives no rate.
MEASURED_SECONDS_MIN = 30.0
# The best rate while there was a backlog is remembered for this time: the capacity of a worker.
CAPACITY_SECONDS = 6 * 3600.0
# A lag of more than this time's work is a backlog: the worker works as fast as it can.
BACKLOG_SECONDS = 10.0
# What replicas are planned for: the backlog is gone after this time, and a worker is busy for this
# share of the time.
DRAIN_SECONDS = 300.0
UTILISATION = 0.8


@dataclass(frozen=True, slots=True)
class Observation:
    """The worker at one moment.

    Attributes:
        monotonic_seconds: the moment.
        partitions: the assigned partitions.
        settled_records: records settled since the start of the process.
        lag_records: the lag of these partitions together.
        is_limited: the API holds, throttles or fails: more workers would not help.
    """

    monotonic_seconds: float
    partitions: frozenset[Assignment]
    settled_records: int
    lag_records: int
    is_limited: bool


@dataclass(frozen=True, slots=True)
class Forecast:
    """What follows if the rates of the last minutes continue. None: not known.

    Attributes:
        settled_per_second: records settled per second.
        produced_per_second: records produced per second to the assigned partitions.
        lag_drain_seconds: the time until the lag is gone; infinite if it doesn't fall.
        oldest_event_seconds_left: the time until the oldest waiting event is too old.
        loss_begins_seconds: the time until the first event is too old; infinite if none will be.
        desired_replicas: how many workers these partitions need. Summed over all workers and
            rounded up, it is the number of workers that the group needs.
    """

    settled_per_second: float | None
    produced_per_second: float | None
    lag_drain_seconds: float | None
    oldest_event_seconds_left: float | None
    loss_begins_seconds: float | None
    desired_replicas: float


class Forecaster:
    """Measures rates from observations and forecasts from them.

    Args:
        event_age_seconds_max: the maximum age of an event.
    """

    def __init__(self, event_age_seconds_max: float) -> None:
        self._event_age_seconds_max = event_age_seconds_max
        self._observations: deque[Observation] = deque()
        self._capacities: deque[tuple[float, float]] = deque()

    def observe(self, observation: Observation) -> None:
        """Take an observation; called every `OBSERVE_SECONDS`."""
        now = observation.monotonic_seconds
        if self._observations and self._observations[-1].partitions != observation.partitions:
            # The lag of other partitions says nothing about these.
            self._observations.clear()
        self._observations.append(observation)
        while now - self._observations[0].monotonic_seconds > WINDOW_SECONDS:
            self._observations.popleft()
        rates = self._rates()
        if rates is not None and observation.lag_records > rates[0] * BACKLOG_SECONDS:
            self._learn_capacity(now, rates[0])
        while self._capacities and now - self._capacities[0][0] > CAPACITY_SECONDS:
            self._capacities.popleft()

    def forecast(self, oldest_event_age_seconds: float | None) -> Forecast:
        """Forecast from the last observation.

        Args:
            oldest_event_age_seconds: the age of the oldest event that waits; None: none waits.
        """
        rates, age = self._rates(), oldest_event_age_seconds
        left = None if age is None else self._event_age_seconds_max - age
        if rates is None:
            return Forecast(None, None, None, left, left, self._desired_replicas(None))
        settled, produced = rates
        lag = self._observations[-1].lag_records
        return Forecast(
            settled_per_second=settled,
            produced_per_second=produced,
            lag_drain_seconds=_lag_drain_seconds(lag, settled, produced),
            oldest_event_seconds_left=left,
            loss_begins_seconds=min(
                self._loss_in_lag(lag, settled, age), self._loss_by_growth(lag, settled, produced)
            ),
            desired_replicas=self._desired_replicas(produced),
        )

    def _rates(self) -> tuple[float, float] | None:
        """Return the records settled and produced per second."""
        if not self._observations:
            return None
        first, last = self._observations[0], self._observations[-1]
        seconds = last.monotonic_seconds - first.monotonic_seconds
        if seconds < MEASURED_SECONDS_MIN:
            return None
        settled = last.settled_records - first.settled_records
        produced = max(0, settled + last.lag_records - first.lag_records)
        return settled / seconds, produced / seconds

    def _learn_capacity(self, now: float, rate: float) -> None:
        # Only rates that no later one exceeds: the first of them is the best.
        while self._capacities and self._capacities[-1][1] <= rate:
            self._capacities.pop()
        if rate > 0:
            self._capacities.append((now, rate))

    def _loss_in_lag(self, lag: int, settled: float, age: float | None) -> float:
        """Return when an event that waits now is too old; see the module's text."""
        if age is None:
            return math.inf
        left = self._event_age_seconds_max - age
        if left <= 0 or settled == 0:
            return max(0.0, left)
        if lag == 0:
            return math.inf
        closing = 1 / settled - age / lag
        place = left / closing if closing > 0 else math.inf
        return place / settled if place < lag else math.inf

    def _loss_by_growth(self, lag: int, settled: float, produced: float) -> float:
        """Return when an event that is produced later is too old."""
        if produced <= settled:
            return math.inf
        limit = self._event_age_seconds_max
        return max(0.0, (settled * limit - lag) / (produced - settled)) + limit

    def _desired_replicas(self, produced: float | None) -> float:
        if not self._observations:
            return 1.0
        last = self._observations[-1]
        if produced is None or not self._capacities:
            wanted = 1.0
        else:
            work = produced / UTILISATION + last.lag_records / DRAIN_SECONDS
            wanted = work / self._capacities[0][1]
        # Each worker asks at most for itself while more workers would not help.
        return min(wanted, 1.0 if last.is_limited else math.inf, float(len(last.partitions)))


def observation_of(
    snapshot: Snapshot, ends: Mapping[Assignment, End], monotonic_seconds: float
) -> Observation | None:
    """Return what a forecaster needs of a snapshot; None while an end is not known."""
    lag = 0
    for partition in snapshot.partitions:
        end = ends.get(partition.assignment)
        if end is None:
            return None
        lag += max(0, end.stable - partition.safe_position)
    return Observation(
        monotonic_seconds=monotonic_seconds,
        partitions=frozenset(partition.assignment for partition in snapshot.partitions),
        settled_records=sum(topic.settled for topic in snapshot.counters.topics.values()),
        lag_records=lag,
        is_limited=bool(snapshot.holds or snapshot.throttles)
        or snapshot.destination.breaker != "closed",
    )


def _lag_drain_seconds(lag: int, settled: float, produced: float) -> float:
    if lag == 0:
        return 0.0
    return lag / (settled - produced) if settled > produced else math.inf
