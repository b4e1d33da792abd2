"""The way of spans to a collector: OTLP over HTTP, on a thread of its own.

The event loop only puts ended spans in a bounded queue. Without a collector, spans are counted and
dropped, and a single line is logged until spans are accepted again.

Only imported where `tracing.enabled` is true: the packages are those of the extra `otel`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer

from worker.edges.telemetry.reading import SpanCounts

logger = logging.getLogger("worker.traces")

# The version of the conventions that names and attributes of the spans follow.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
DEFAULT_SERVICE_NAME = "appmetrica-worker"
# A span with all its links takes about 40 KB until it is exported.
QUEUE_SPANS_MAX = 1000
EXPORT_SPANS_MAX = 100
EXPORT_INTERVAL_MILLISECONDS = 1000
LINKS_MAX = 128


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Where spans are sent, and in whose name. `repr` shows no header's value.

    Attributes:
        endpoint: URL to which spans are posted; None: the SDK's variables `OTEL_EXPORTER_OTLP_…`.
        headers: headers of each request; empty: the SDK's variables.
        timeout_seconds: of an export with its retries.
        instance_id: the name of this worker.
        version: the version of this worker.
    """

    endpoint: str | None
    headers: Mapping[str, str]
    timeout_seconds: float
    instance_id: str
    version: str

    def __repr__(self) -> str:
        return f"ExportOptions(endpoint={self.endpoint!r}, headers={list(self.headers)!r})"


class SpanExport:
    """The queue of ended spans and the thread that sends them.

    Args:
        options: where to send them.
    """

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=_resource(options),
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=LINKS_MAX),
        )
        self._exporter: _CountingExporter | None = None
        self._queue: _BoundedQueue | None = None

    def start(self) -> None:
        """Start the thread. Spans that end before are dropped."""
        # The SDK logs each failure, each with the address; `_CountingExporter` logs the first.
        sdk = logging.getLogger("opentelemetry")
        sdk.propagate = False
        failures = _LastMessages()
        sdk.addHandler(failures)
        session = requests.Session()
        # No proxy, no password from ~/.netrc: what is sent where is set in one place.
        session.trust_env = False
        self._exporter = _CountingExporter(
            OTLPSpanExporter(
                endpoint=self._options.endpoint,
                headers=dict(self._options.headers) or None,
                timeout=self._options.timeout_seconds,
                compression=Compression.Gzip,
                session=session,
            ),
            failures,
        )
        self._queue = _BoundedQueue(self._exporter)
        self._provider.add_span_processor(self._queue)

    def tracer(self) -> Tracer:
        """Return what makes spans."""
        return self._provider.get_tracer("worker", self._options.version, schema_url=SCHEMA_URL)

    def counts(self) -> SpanCounts:
        """Return the numbers of ended spans: exported, failed and dropped."""
        if self._exporter is None or self._queue is None:
            return SpanCounts()
        return SpanCounts(self._exporter.exported, self._exporter.failed, self._queue.dropped)

    async def close(self, seconds_max: float) -> None:
        """Send what waits, within this time; then what is left is dropped with its thread."""
        queue, exporter = self._queue, self._exporter
        if queue is None or exporter is None:
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            queue.shutdown()  # type: ignore[no-untyped-call]
            # The loop may be closed: nobody waits any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        # A daemon thread: it must not delay the end of the process, as an executor's would.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(seconds_max):
                await ended.wait()
        except TimeoutError:
            if queue.waiting:
                logger.warning("traces_left_behind", extra={"spans": queue.waiting})
            # What is left fails at once.
            exporter.shutdown()


class _BoundedQueue(BatchSpanProcessor):
    """The SDK's queue, which drops new spans when it is full, and counts them.

    By itself the SDK drops the oldest spans and counts nothing.
    """

    def __init__(self, exporter: _CountingExporter) -> None:
        super().__init__(
            exporter,
            max_queue_size=QUEUE_SPANS_MAX,
            schedule_delay_millis=EXPORT_INTERVAL_MILLISECONDS,
            max_export_batch_size=EXPORT_SPANS_MAX,
        )
        self._counted = exporter
        self._accepted = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Spans that are queued or being sent."""
        return self._accepted - self._counted.exported - self._counted.failed

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span, or drop it."""
        if self.waiting >= QUEUE_SPANS_MAX:
            self.dropped += 1
            return
        self._accepted += 1
        super().on_end(span)


class _CountingExporter(SpanExporter):
    """Sends spans, counts them, and logs the first failure and the first success after it.

    `export` runs on the thread of the queue, `shutdown` on any.
    """

    def __init__(self, exporter: SpanExporter, failures: _LastMessages) -> None:
        self._exporter = exporter
        self._failures = failures
        self._is_failing = False
        self._is_closed = False
        self.exported = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send these spans; a failure is final for them."""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            if self._is_failing:
                logger.info("traces_accepted_again")
        else:
            self.failed += len(spans)
            if not self._is_failing and not self._is_closed:
                logger.warning("traces_not_accepted", extra={"detail": self._failures.text})
        self._is_failing = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        """Close the connections; a retry that waits is given up, and nothing more is logged."""
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()


class _LastMessages(logging.Handler):
    """Keeps the last two messages of the SDK: why an export failed, and that it is given up."""

    def __init__(self) -> None:
        super().__init__()
        self._messages: deque[str] = deque(maxlen=2)

    @property
    def text(self) -> str:
        """The messages, in their order."""
        return " ".join(tuple(self._messages))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self._messages.append(record.getMessage())


def _resource(options: ExportOptions) -> Resource:
    """Return who sends the spans; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count."""
    given = Resource.create()
    ours = Resource(
        {SERVICE_VERSION: options.version, SERVICE_INSTANCE_ID: options.instance_id}
        | (
            {SERVICE_NAME: DEFAULT_SERVICE_NAME}
            if str(given.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
            else {}
        )
    )
    return given.merge(ours)
