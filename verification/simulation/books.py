"""The checks of a worker's own books after every step: account (2), bounds (5) and sums."""

from __future__ import annotations

from verification.simulation.violation import ViolationError
from worker.core.model.clock import Now
from worker.core.model.event import Event
from worker.core.model.row import RECORD_OVERHEAD_BYTES
from worker.core.pipeline import Pipeline
from worker.core.progress.pressure import CHUNKS_BEYOND_MAX
from worker.settings.schema import Settings

# More than any record of a history takes: its value, its line, and what holding them costs.
ROW_BYTES_MAX = RECORD_OVERHEAD_BYTES + 600
HISTORY_SECONDS_MAX = 1000.0


class Books:
    """Checks the counters, offsets and memory that a worker keeps.

    Args:
        pipeline: whose books are checked.
        settings: they state the bounds.
        memory_bytes_max: the mark at which the worker must stop receiving.
    """

    def __init__(self, pipeline: Pipeline, settings: Settings, memory_bytes_max: int) -> None:
        self._pipeline = pipeline
        self._ledger = pipeline._ledger
        self._settings = settings
        self._memory_bytes_max = memory_bytes_max
        self._sums: dict[str, float] = {}
        # A clock that is wrong at the start is known to be so only after two answers.
        self.had_wrong_clock = False

    def check(self, event: Event) -> None:
        """Check them after this event."""
        if self._ledger.imbalance():
            raise ViolationError(
                "2 account",
                f"{self._ledger.imbalance()} records unexplained after {type(event).__name__}",
            )
        self._check_spans()
        self._check_memory()
        self._check_sums()

    def _check_spans(self) -> None:
        offsets, kafka = self._ledger.offsets, self._settings.kafka
        # A chunk has this many records. On top come the offsets of markers and gaps, and the chunks
        # that are received beyond the span, so that a lone row meets others.
        span_max = (
            self._settings.limits.span_records_max
            + (2 + CHUNKS_BEYOND_MAX) * kafka.poll_records_max
        )
        for assignment in offsets:
            if (span := offsets.tracker(assignment).span) > span_max:
                raise ViolationError("5 span", f"{assignment} reaches {span}")

    def _check_memory(self) -> None:
        # The mark may be passed by the records of one chunk, and by the bodies of the requests.
        settings, held = self._settings, self._ledger.memory.held_bytes
        bodies = settings.delivery.requests_in_flight_max * settings.batching.rows_max
        rows = settings.kafka.poll_records_max + bodies
        bytes_max = self._memory_bytes_max + rows * ROW_BYTES_MAX
        if held > bytes_max:
            raise ViolationError("5 bytes", f"{held} held of {bytes_max}")
        keys = sum(route.window.rows for route in self._pipeline._routes.values())
        if keys > settings.dedup.window_rows_max:
            raise ViolationError("5 keys", f"{keys} remembered of {settings.dedup.window_rows_max}")

    def _check_sums(self) -> None:
        """Check that no sum falls: Prometheus would take that for a restart."""
        counters = self._ledger.counters
        sums = {
            "event age": counters.event_age_seconds.sum,
            "delivery latency": counters.delivery_latency_seconds.sum,
        }
        for name, seconds in sums.items():
            if seconds < self._sums.get(name, 0.0):
                raise ViolationError(
                    "sums", f"that of the {name} falls by {self._sums[name] - seconds:.1f} s"
                )
        if (
            not self.had_wrong_clock
            and sums["delivery latency"]
            > counters.delivery_latency_seconds.cumulative()[-1] * HISTORY_SECONDS_MAX
        ):
            raise ViolationError(
                "sums", f"records took {sums['delivery latency']:.0f} s: more than there were"
            )
        self._sums = sums

    def check_end(self) -> None:
        """Check that at the end only requests and writes without an answer hold memory."""
        held = self._ledger.memory.held_bytes
        if held > self._bytes_under_way():
            raise ViolationError("5 bytes at the end", f"{held} bytes are still held")

    def _bytes_under_way(self) -> int:
        """The bytes that only late answers of requests and writes will release."""
        rows = self._pipeline.snapshot(Now(0.0, 0.0)).rows
        return sum(rows.values()) * 2 * ROW_BYTES_MAX
