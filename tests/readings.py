"""A worker at one moment, as the tests of metrics and status need it: every value differs."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry

from tests.builders import make_assignment
from worker.core.counters.counters import UNKNOWN, Counters, Histogram, RequestEnd, TopicCounters
from worker.core.counters.forecast import Forecast
from worker.core.counters.history import History, HistoryPoint, Totals
from worker.core.counters.situation import Urgency
from worker.core.counters.snapshot import (
    DestinationStatus,
    HoldStatus,
    PartitionStatus,
    Snapshot,
    ThrottleStatus,
)
from worker.core.model.answer import Response
from worker.core.model.clock import ClockStatus, Trust
from worker.core.model.fault import Reason
from worker.core.model.record import End, SkipReason, TopicPartition
from worker.edges.telemetry.admin_server import Answers
from worker.edges.telemetry.log_filters import LogLevel, RecentLogs
from worker.edges.telemetry.logs import configure_logging
from worker.edges.telemetry.metrics.collector import WorkerCollector
from worker.edges.telemetry.reading import Reading, SpanCounts, WorkerInfo
from worker.edges.telemetry.redaction import Redactor
from worker.edges.telemetry.status import status_of
from worker.edges.telemetry.status_page import page_document

SECRET = "s3cret/key+of=ours"
TOPIC, PARKED = "offline-events", "offline-events.parked"
ASSIGNMENT = make_assignment(3)
INFO = WorkerInfo(
    version="1.2.3",
    config_hash="abc",
    topics=(TOPIC, PARKED),
    parking_topics={TOPIC: PARKED},
    buffer_bytes_max=5000,
    container_bytes_max=6000,
    host="pod-1",
    group_id="group-1",
    started_unix_seconds=4.5,
    applications=(1111, 2222, 3333),
    span_records_max=800,
)
PARKED_ASSIGNMENT = make_assignment(0, topic=PARKED)


class WrittenLines:
    """Log lines, in memory."""

    dropped = 0

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        self._lines.append(line + "\n")

    def flush(self, _: float) -> bool:
        return True

    def getvalue(self) -> str:
        return "".join(self._lines)


def configured_log(
    root: logging.Logger, format_name: str = "json", secret: str = SECRET, level: str = "info"
) -> tuple[WrittenLines, RecentLogs]:
    """Configure the log as `run` does, with its lines in memory; `root` is restored afterwards."""
    assert root is logging.getLogger()
    written = WrittenLines()
    return written, configure_logging(format_name, level, [secret], lambda _: written)


def make_counters() -> Counters:
    topic = TopicCounters(
        consumed=100,
        consumed_bytes=9000,
        delivered=61,
        deduplicated=Counter(key=9, content=3),
        skipped=Counter({SkipReason.TOMBSTONE: 25}),
        parked=5,
        given_back=4,
        offsets_skipped=14,
        log_truncations=15,
        skipped_settled=16,
        hints_ignored=17,
        events_ahead=18,
        records_ahead=19,
        records_undated=20,
    )
    topic.rejected[Reason.MISSING] = 8
    topic.dead_lettered[Reason.MISSING] = 7
    topic.contract_drift.unusual_values["os_name"] = 21
    topic.contract_drift.without_key["missing"] = 23
    topic.contract_drift.drift("purchase", "colour", UNKNOWN, 22)
    counters = Counters({TOPIC: topic})
    counters.observe_request(Response(200, None, "", 0.02), RequestEnd("delivered"), 1)
    counters.batches["delivered"] = 23
    counters.flushes["linger"] = 24
    counters.requests.update({"200": 24, "503": 26})
    counters.retries["http_503"] = 27
    counters.commits["committed"] = 28
    counters.rebalances["lost"] = 29
    counters.ambiguous_rows = 30
    counters.dead_letter_failures = 31
    counters.parking_failures = 32
    counters.last_poll_unix_seconds = 1_700_000_033.0
    counters.last_delivery_unix_seconds = 1_700_000_034.0
    counters.last_commit_unix_seconds = 1_700_000_035.0

    counters.delivery_latency_seconds.observe(0.3)
    counters.event_age_seconds.observe(3000.0)
    counters.batch_rows.observe(40.0)
    counters.batch_bytes.observe(4000.0)
    counters.commit_seconds.observe(0.2)
    return counters


def make_snapshot() -> Snapshot:
    return Snapshot(
        counters=make_counters(),
        partitions=(
            PartitionStatus(ASSIGNMENT, 10, 9, 8, 1, is_paused=True, is_draining=False),
            PartitionStatus(PARKED_ASSIGNMENT, 2, 2, None, 0, is_paused=False, is_draining=True),
        ),
        holds=(HoldStatus(1111, "http_403", 1.0, 2.0, 5, is_parking=False),),
        throttles=(ThrottleStatus(2222, "http_429", 1.0, 20.0, 7),),
        rows={
            "linked": 1,
            "batching": 2,
            "waiting": 3,
            "in_flight": 4,
            "dead_letter": 0,
            "parking": 1,
        },
        destination=DestinationStatus("open", 8, 3, "http_503", 2.5, 9.5),
        held_bytes=1234,
        dedup_window_rows=36,
        dedup_keys_evicted={TOPIC: 37},
        oldest_event_timestamp=1_700_000_000,
        expiring_rows={3600: 1, 21_600: 2, 86_400: 3},
        imbalance=-2,
        is_stopping=False,
        is_dead_letter_blocked=True,
        is_parking_blocked=False,
        clock=ClockStatus(Trust.DOUBTED, 1_296_000.5),
    )


def make_history() -> History:
    """A history of two points, 20 and 10 s before the reading."""
    history = History(75.0)
    for seconds, received in ((85.0, 20), (95.0, 60)):
        totals = Totals(received=received, delivered=received // 2, requests=10, requests_failed=2)
        history.observe(HistoryPoint(seconds, totals, 7, 1000, Urgency.OK))
    return history


def make_reading(**changes: object) -> Reading:
    """The reading, with some of its values or of its snapshot's replaced."""
    lines = WrittenLines()
    lines.dropped = 38
    logs = RecentLogs(Redactor(()), lines, LogLevel("warning"))
    logs.by_level["error"] = 39
    logs.note('{"event": "commit_failed"}')
    loop_lag = Histogram((0.1,))
    loop_lag.observe(0.05)
    reading = Reading(
        info=WorkerInfo(
            "1.2.3",
            "abc",
            (TOPIC, PARKED),
            {TOPIC: PARKED},
            5000,
            6000,
            "pod-1",
            "group-1",
            4.5,
            (1111, 2222, 3333),
            800,
        ),
        unix_seconds=5.0,
        monotonic_seconds=105.0,
        snapshot=make_snapshot(),
        ends={
            ASSIGNMENT: End(stable=15, written=22, unix_seconds=3.0),
            PARKED_ASSIGNMENT: End(stable=6, written=6, unix_seconds=3.0),
        },
        partition_errors={TopicPartition(TOPIC, 4): "no leader"},
        consumer_rebuilds=40,
        key_files_unusable=[1111],
        not_ready_because=None,
        forecast=Forecast(41.0, 42.0, 43.0, 44.0, math.inf, 0.5),
        logs=logs,
        loop_lag_seconds=loop_lag,
        history=make_history(),
        stop_deadline_unix_seconds=None,
        spans=SpanCounts(exported=91, failed=92, dropped=93),
    )
    of_snapshot = {name: changes[name] for name in changes if hasattr(reading.snapshot, name)}
    others = {name: changes[name] for name in changes if name not in of_snapshot}
    snapshot = replace(reading.snapshot, **of_snapshot)  # type: ignore[arg-type]
    return replace(reading, **{"snapshot": snapshot, **others})  # type: ignore[arg-type]


def make_registry(read: Callable[[], Reading] = make_reading) -> CollectorRegistry:
    """A registry with the worker's metrics."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(read))
    return registry


def make_answers(
    read: Callable[[], Reading] = make_reading, unready: str | None = None, remark: str = ""
) -> Answers:
    """What an admin port answers about this reading."""
    return Answers(
        registry=make_registry(read),
        status=lambda: status_of(read()),
        page=lambda: page_document(read()),
        unready=lambda: unready,
        remark=lambda: remark,
    )


def line_of(event: str, value: object) -> logging.LogRecord:
    """A warning with one field."""
    return logging.makeLogRecord(
        {"name": event, "levelname": "WARNING", "msg": event, "field": value}
    )
