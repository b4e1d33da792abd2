"""Metrics of the process: version, readiness, memory, event loop, log."""

from __future__ import annotations

from worker.edges.telemetry.metrics.definition import (
    CounterMetric,
    GaugeMetric,
    HistogramMetric,
    Labels,
    single,
)
from worker.edges.telemetry.reading import Reading

LEVELS = ("debug", "info", "warning", "error")


def _log_messages(reading: Reading) -> dict[Labels, float]:
    counts = reading.logs.by_level
    return {(level,): counts[level] for level in sorted({*counts, *LEVELS})}


def _spans(reading: Reading) -> dict[Labels, float]:
    spans = reading.spans
    return {("exported",): spans.exported, ("failed",): spans.failed, ("dropped",): spans.dropped}


def _memory_limit_bytes(reading: Reading) -> dict[Labels, float]:
    limit = reading.info.container_bytes_max
    return {} if limit is None else {(): limit}


PROCESS = (
    GaugeMetric(
        "build_info",
        ("version",),
        "Version of the worker.",
        "",
        lambda reading: {(reading.info.version,): 1},
    ),
    GaugeMetric(
        "config_info",
        ("config_hash",),
        "Digest of the configuration in use.",
        "Differs between workers: a rollout is not complete.",
        lambda reading: {(reading.info.config_hash,): 1},
    ),
    GaugeMetric(
        "ready",
        (),
        "1 while the worker is a member of its group, with or without partitions, and is not "
        "stopping, as in /readyz.",
        "0: see not_ready_because in /status.",
        single(lambda reading: reading.not_ready_because is None),
    ),
    GaugeMetric(
        "buffer_bytes",
        (),
        "Bytes of records and of the bodies of requests in flight. Records take at most "
        "limits.memory_bytes_max plus one chunk; the bodies come on top.",
        "At seven eighths of the limit for long: see records_outstanding and application_held.",
        single(lambda reading: reading.snapshot.held_bytes),
    ),
    GaugeMetric(
        "buffer_limit_bytes",
        (),
        "The setting limits.memory_bytes_max.",
        "",
        single(lambda reading: reading.info.buffer_bytes_max),
    ),
    GaugeMetric(
        "memory_limit_bytes",
        (),
        "Memory limit of the container: beyond it the kernel kills the worker. Absent where there "
        "is no limit.",
        "Compare process_resident_memory_bytes with it. Near it: raise the container's limit, or "
        "lower limits.memory_bytes_max or dedup.window_rows_max.",
        _memory_limit_bytes,
    ),
    GaugeMetric(
        "dedup_window_rows",
        (),
        "Remembered keys of delivered events, at most dedup.window_rows_max.",
        "At the limit: see dedup_keys_evicted_total.",
        single(lambda reading: reading.snapshot.dedup_window_rows),
    ),
    CounterMetric(
        "dedup_keys_evicted_total",
        ("topic",),
        "Remembered keys dropped before dedup.window_seconds, because the window was full. A "
        "later repetition of such an event is delivered twice.",
        "Rises: raise dedup.window_rows_max, and the container's memory accordingly.",
        lambda reading: {
            (topic,): keys for topic, keys in sorted(reading.snapshot.dedup_keys_evicted.items())
        },
    ),
    HistogramMetric(
        "loop_lag_seconds",
        (),
        "Delay of the event loop: how late a timer fires.",
        "Often above 0.1: too little CPU.",
        single(lambda reading: reading.loop_lag_seconds),
    ),
    CounterMetric(
        "log_messages_total",
        ("level",),
        "Log messages, including suppressed repetitions.",
        "Errors: read the log, or last_errors in /status.",
        _log_messages,
    ),
    CounterMetric(
        "log_lines_dropped_total",
        (),
        "Log lines dropped, because standard error was not read in time (at most a megabyte "
        "waits) or could not be written (a full disk).",
        "Check the process that reads standard error.",
        single(lambda reading: reading.logs.lines_dropped),
    ),
    CounterMetric(
        "trace_spans_total",
        ("result",),
        "Spans of traces: exported, failed (the collector was not reached or refused them) or "
        "dropped (the queue was full). 0 while tracing.enabled is false.",
        "failed or dropped rise: see the line traces_not_accepted in the log. Delivery goes on.",
        _spans,
    ),
)
