"""The account of every record: what came in, what became of it, and the figures that operators
watch.

    consumed = delivered + dead-lettered + duplicates + parked + given back + outstanding

holds after every step. `outstanding` is counted elsewhere (by the trackers), so the equation can
fail, and a metric shows it. Counted per chunk and per batch, never per record: a labelled metric
per record costs more than the record.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from worker.core.counters.contract_drift import ContractDrift
from worker.core.counters.histogram import Histogram
from worker.core.model.fault import Reason

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
class TopicAccount:
    """The records of one topic since the process started. All counts but `consumed_bytes`.

    `skipped_settled` were received again although an earlier life of their partition had settled
    them, as the hints beside the commit told; they are not in `consumed`. `hints_ignored` counts
    commits whose metadata wasn't ours or was damaged. `events_ahead` counts delivered events, and
    `records_ahead` delivered records, whose time lay ahead of the worker's clock: their age, or
    their latency, is observed as 0. `records_undated` were delivered and have no timestamp, and so
    no latency. `remarks` say what was unusual about the records' contents.
    """

    consumed: int = 0
    consumed_bytes: int = 0
    delivered: int = 0
    duplicates: int = 0
    dead_lettered: Counter[Reason] = field(default_factory=Counter)
    rejected: Counter[Reason] = field(default_factory=Counter)
    parked: int = 0
    given_back: int = 0
    offsets_skipped: int = 0
    log_truncations: int = 0
    skipped_settled: int = 0
    hints_ignored: int = 0
    events_ahead: int = 0
    records_ahead: int = 0
    records_undated: int = 0
    remarks: ContractDrift = field(default_factory=ContractDrift)

    def balance(self, outstanding: int) -> int:
        """0, or how many records are unaccounted for."""
        settled = self.delivered + self.dead_lettered.total() + self.duplicates + self.parked
        return self.consumed - settled - self.given_back - outstanding


@dataclass(slots=True)
class Counters:
    """All topics' accounts and the counts of what was done for them. Times in Unix seconds, 0 for
    never.

    `ambiguous_rows` were in requests of which nobody knows whether they were loaded: as many may
    come twice.
    """

    topics: dict[str, TopicAccount]
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

    def observe_request(self, outcome: str, duration_seconds: float) -> None:
        """A request ended with this outcome after so long."""
        if outcome not in self.request_seconds:
            self.request_seconds[outcome] = Histogram(_SECONDS)
        self.request_seconds[outcome].observe(duration_seconds)
