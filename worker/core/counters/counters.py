"""The account of every record: how many were received, how they ended, and operators' figures.

    consumed = delivered + dead-lettered + duplicates + skipped + parked + given back + outstanding

holds after every step. `outstanding` is counted elsewhere (by the trackers), so the equation can
fail, and a metric shows it. Counters change per chunk and per batch, never per record: to update a
labelled metric for each record would cost more than the record.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Shares
from worker.core.model.fault import Reason
from worker.core.model.record import SkipReason


class Histogram:
    """Counts of observed values by upper bound, and their sum.

    The last bucket has the values above the bounds. Prometheus treats the sum as a counter, so a
    caller must not observe a negative value.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        if list(bounds) != sorted(set(bounds)):
            raise ValueError("bounds must rise")
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it, as Prometheus has it (`le`)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many values at once: one search for each bound, and none for each value."""
        rising = sorted(values)
        self.sum += sum(rising)
        below = 0
        for index, bound in enumerate(self.bounds):
            up_to_bound = bisect_right(rising, bound, below)
            self.counts[index] += up_to_bound - below
            below = up_to_bound
        self.counts[-1] += len(rising) - below

    def cumulative(self) -> list[int]:
        """How many values lie at or below each bound, then how many there are in all."""
        total = 0
        result = []
        for number in self.counts:
            total += number
            result.append(total)
        return result


# Names come from producers: without a bound, a faulty producer would fill the memory and the
# metrics.
DRIFTS_MAX = 100
OTHER = "(other)"
UNKNOWN = "unknown"
# The API cuts a value of this length; a decimal has more digits than the API states.
CUT, PRECISION = "cut", "precision"
# The event is delivered without an invalid value of an optional column.
DROPPED = "dropped"


class Drift(NamedTuple):
    """One way in which records differ from the contract.

    `change` is `unknown` for a field that the resource doesn't have, `cut` for a payload that the
    API cuts, `precision` for a decimal with more digits after the point than the API states,
    `dropped` for an invalid value without which the event is delivered, else
    the JSON type found instead of the right one.
    """

    event_name: str
    field: str
    change: str


@dataclass(slots=True)
class ContractDrift:
    """The differences of one topic's records from the contract.

    `unusual_values` counts by column, `drifts` by what differs, `without_key` by the reason for
    which a record has no usable key although the route's configuration names one.
    """

    unusual_values: Counter[str] = field(default_factory=Counter)
    without_key: Counter[str] = field(default_factory=Counter)
    drifts: Counter[Drift] = field(default_factory=Counter)

    def drift(self, event_name: str, field_name: str, change: str, count: int = 1) -> None:
        """Note one field of one record, or of this many.

        Beyond `DRIFTS_MAX` different drifts, new drifts are counted together.
        """
        drift = Drift(event_name, field_name, change)
        if drift not in self.drifts and len(self.drifts) >= DRIFTS_MAX:
            drift = Drift(OTHER, OTHER, change)
        self.drifts[drift] += count

    def add(self, other: ContractDrift) -> None:
        """Add the differences of further records of the topic."""
        self.unusual_values.update(other.unusual_values)
        self.without_key.update(other.without_key)
        for drift, count in other.drifts.items():
            self.drift(drift.event_name, drift.field, drift.change, count)


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LATENCY_SECONDS = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    3600.0,
    14400.0,
    86400.0,
)
_AGE_SECONDS = (
    1.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    14400.0,
    86400.0,
    172800.0,
    345600.0,
    604800.0,
    864000.0,
    1209600.0,
)
_ROWS = (1.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 50000.0, 100000.0)
_BYTES = tuple(float(4**power) for power in range(5, 16))


@dataclass(slots=True)
class TopicCounters:
    """The records of one topic since the process started. All counts but `consumed_bytes`.

    `skipped_settled` were received again although the commit metadata names them as settled; they
    are not in `consumed`. `hints_ignored` counts commits whose metadata wasn't ours or was damaged.
    `events_ahead` counts delivered events, and `records_ahead` delivered records, whose time lay
    ahead of the worker's clock: their age, or their latency, is observed as 0. `records_undated`
    were delivered and have no timestamp, and so no latency.
    """

    consumed: int = 0
    consumed_bytes: int = 0
    delivered: int = 0
    deduplicated: Counter[str] = field(default_factory=Counter)
    dead_lettered: Counter[Reason] = field(default_factory=Counter)
    rejected: Counter[Reason] = field(default_factory=Counter)
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    parked: int = 0
    given_back: int = 0
    offsets_skipped: int = 0
    log_truncations: int = 0
    skipped_settled: int = 0
    hints_ignored: int = 0
    events_ahead: int = 0
    records_ahead: int = 0
    records_undated: int = 0
    contract_drift: ContractDrift = field(default_factory=ContractDrift)

    @property
    def duplicates(self) -> int:
        """How many records were dropped as duplicates, by any kind of key."""
        return self.deduplicated.total()

    @property
    def settled(self) -> int:
        """The number of records that this worker has settled."""
        dropped = self.duplicates + self.skipped.total()
        return self.delivered + self.dead_lettered.total() + dropped + self.parked

    def balance(self, outstanding: int) -> int:
        """0, or how many records are unaccounted for."""
        return self.consumed - self.settled - self.given_back - outstanding


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """The result of a request, in the labels of the metrics.

    `retry_reason` is None where the batch isn't sent again. `is_ambiguous`: the API may have loaded
    the rows.
    """

    outcome: str
    retry_reason: str | None = None
    is_ambiguous: bool = False


@dataclass(slots=True)
class Counters:
    """All topics' counts, and the counts of the work done for them.

    Times are in Unix seconds, 0 for never. `ambiguous_rows` were in requests that the API may
    have loaded without an answer: as many rows may be loaded twice.
    """

    topics: dict[str, TopicCounters]
    batches: Counter[str] = field(default_factory=Counter)
    flushes: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    commits: Counter[str] = field(default_factory=Counter)
    rebalances: Counter[str] = field(default_factory=Counter)
    ambiguous_rows: int = 0
    dead_letter_failures: int = 0
    parking_failures: int = 0
    last_poll_unix_seconds: float = 0.0
    last_delivery_unix_seconds: float = 0.0
    last_commit_unix_seconds: float = 0.0
    request_seconds: dict[str, Histogram] = field(default_factory=dict)
    delivery_latency_seconds: Histogram = field(default_factory=lambda: Histogram(_LATENCY_SECONDS))
    event_age_seconds: Histogram = field(default_factory=lambda: Histogram(_AGE_SECONDS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(_ROWS))
    batch_bytes: Histogram = field(default_factory=lambda: Histogram(_BYTES))
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(_SECONDS))

    def observe_request(self, answer: Answer, end: RequestEnd, rows: int) -> None:
        """Count a request with this many rows by its answer and by what the answer means."""
        fault = str(answer.status) if isinstance(answer, Response) else answer.fault.value
        self.requests[fault] += 1
        if end.retry_reason is not None:
            self.retries[end.retry_reason] += 1
        if end.is_ambiguous:
            self.ambiguous_rows += rows
        self.batches[end.outcome] += 1
        if end.outcome not in self.request_seconds:
            self.request_seconds[end.outcome] = Histogram(_SECONDS)
        self.request_seconds[end.outcome].observe(answer.duration_seconds)

    def observe_delivery(self, shares: Shares, unix_seconds: float) -> None:
        """Count the ages of delivered events and the latencies of their records.

        A time ahead of our clock counts as now: a negative value would lower the histogram's sum,
        and Prometheus takes a lower sum for a restart.
        """
        self.last_delivery_unix_seconds = unix_seconds
        ages: list[float] = []
        latencies: list[float] = []
        for assignment, share in shares.items():
            topic = self.topics[assignment.topic]
            written: Sequence[int] = share.record_timestamps
            if min(written) <= 0:
                topic.records_undated += sum(time <= 0 for time in written)
                written = [time for time in written if time > 0]
            its_ages = [unix_seconds - time for time in share.event_timestamps]
            its_latencies = [unix_seconds - time / 1000 for time in written]
            topic.events_ahead += _set_to_now(its_ages)
            topic.records_ahead += _set_to_now(its_latencies)
            ages += its_ages
            latencies += its_latencies
        self.event_age_seconds.observe_all(ages)
        self.delivery_latency_seconds.observe_all(latencies)


def _set_to_now(ages: list[float]) -> int:
    """Set the negative ages to 0, and return how many there were."""
    # A single comparison for all rows: times ahead are rare, and this runs for every batch.
    if min(ages, default=0.0) >= 0:
        return 0
    ahead = sum(age < 0 for age in ages)
    ages[:] = [max(0.0, age) for age in ages]
    return ahead
