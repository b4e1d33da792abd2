"""Traces of batches: one span per batch with a link to each traced record, one per request.

The names and attributes are those of OpenTelemetry's conventions for messaging and for HTTP
clients, in the version that `trace_export.SCHEMA_URL` names. A batch has many records, each perhaps
with a trace of its own, so its span begins a new trace and links to theirs. A retry is a request
like the first: a child of the batch's span, which ended with the first request.

No span holds a key, a query string, a value of a record, or a text of the API.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from worker.core.model.answer import Ambiguous, Answer, NotSent, Response
from worker.core.model.batch import Batch, RequestForm
from worker.edges.telemetry.trace_links import FromRecord, common_topic, links_of

# Batches that may still be sent again. Each is some hundred bytes.
BATCHES_MAX = 1000

Attributes = dict[str, AttributeValue]


class Requests(Protocol):
    """The requests to the API."""

    async def post(self, batch: Batch, time_factor: int) -> Answer:
        """Send the batch once; every failure is an answer."""

    async def ask_time(self) -> Answer:
        """Ask for the date of an answer."""


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """What the spans say of this worker, and which batches are traced.

    Attributes:
        base_url: of the Post API, without a query.
        form: of its requests.
        group_id: the consumer group.
        client_id: of the Kafka clients.
        sample_ratio: the share of batches that are traced.
    """

    base_url: str
    form: RequestForm
    group_id: str
    client_id: str
    sample_ratio: float


@dataclass(slots=True)
class _BatchTrace:
    """The span of a batch, None if the batch isn't traced; and how often the batch was sent."""

    context: SpanContext | None
    requests: int = 0


class Traces:
    """Makes the spans of batches and of writes to topics.

    Args:
        options: what the spans say.
        tracer: makes the spans.
        uniform: draws from [0, 1).
    """

    def __init__(self, options: TraceOptions, tracer: Tracer, uniform: Callable[[], float]) -> None:
        self._options = options
        self._tracer = tracer
        self._uniform = uniform
        self._batches: OrderedDict[str, _BatchTrace] = OrderedDict()

    def log_fields(self, fields: Mapping[str, object]) -> dict[str, str]:
        """Return the trace of the batch that a log line names, if it has a trace."""
        trace = self._batches.get(str(fields.get("batch_id")))
        if trace is None or trace.context is None:
            return {}
        return {"trace_id": format_trace_id(trace.context.trace_id)}

    def requests(self, sink: Requests) -> TracedRequests:
        """Return the same requests, each with its span."""
        return TracedRequests(sink, self)

    # --- batches ----------------------------------------------------------------------------------

    def begin(self, batch: Batch) -> RequestSpans | None:
        """Begin the span of a request, and that of its batch at the first request.

        None: this batch isn't traced.
        """
        trace = self._batches.get(batch.id)
        batch_span: Span | None = None
        if trace is None:
            if self._uniform() < self._options.sample_ratio:
                batch_span = self._batch_span(batch)
            trace = _BatchTrace(None if batch_span is None else batch_span.get_span_context())
            self._batches[batch.id] = trace
            if len(self._batches) > BATCHES_MAX:
                self._batches.popitem(last=False)
        if trace.context is None:
            return None
        trace.requests += 1
        request_span = self._request_span(batch, trace.context, trace.requests)
        return RequestSpans(request_span, batch_span)

    def end(self, batch: Batch) -> None:
        """Note that the batch was accepted: of all batches, it is forgotten first."""
        if batch.id in self._batches:
            self._batches.move_to_end(batch.id, last=False)

    def _batch_span(self, batch: Batch) -> Span:
        destination = batch.destination
        links, records_traced = links_of(batch.rows)
        attributes: Attributes = {
            **self._kafka("process", batch.rows),
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": self._options.group_id,
            "appmetrica.application_id": str(destination.application_id),
            "appmetrica.resource": destination.resource,
            "appmetrica.batch.id": batch.id,
            "appmetrica.batch.records_traced": records_traced,
        }
        name = " ".join(["process", *common_topic(batch.rows)])
        return self._tracer.start_span(
            name, kind=SpanKind.CONSUMER, attributes=attributes, links=links
        )

    def _request_span(self, batch: Batch, parent: SpanContext, number: int) -> Span:
        base = urlsplit(self._options.base_url)
        suffix = "" if self._options.form is RequestForm.PARAMS else ".csv"
        path = f"{base.path.rstrip('/')}/logs/v1/import/{batch.destination.resource}{suffix}"
        attributes: Attributes = {
            "http.request.method": "POST",
            "http.request.body.size": batch.body_bytes if suffix else 0,
            # The key stands in the query, so the query is left out.
            "url.full": f"{base.scheme}://{base.netloc}{path}",
            "server.address": base.hostname or "",
            "server.port": base.port or (443 if base.scheme == "https" else 80),
            "appmetrica.batch.id": batch.id,
            "appmetrica.batch.attempt": number,
        }
        if number > 1:
            attributes["http.request.resend_count"] = number - 1
        return self._tracer.start_span(
            f"POST {path}",
            set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )

    # --- writes to topics -------------------------------------------------------------------------

    def note_write(
        self,
        topic: str,
        entries: Sequence[FromRecord],
        faults: Sequence[Exception],
        started_unix_nanoseconds: int,
    ) -> None:
        """Add the span of an attempt to write records to a topic, which ends now.

        The records keep their producer's trace context, so the span only links to it.
        """
        if self._uniform() >= self._options.sample_ratio:
            return
        links, records_traced = links_of(entries)
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.client.id": self._options.client_id,
            "messaging.destination.name": topic,
            "messaging.batch.message_count": len(entries),
            "appmetrica.batch.records_traced": records_traced,
        }
        span = self._tracer.start_span(
            f"send {topic}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
            start_time=started_unix_nanoseconds,
        )
        if faults:
            span.set_attribute("error.type", type(faults[0]).__name__)
            span.set_attribute("appmetrica.batch.records_failed", len(faults))
            span.set_status(StatusCode.ERROR)
        span.end()

    def _kafka(self, operation: str, entries: Sequence[FromRecord]) -> Attributes:
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.client.id": self._options.client_id,
            "messaging.batch.message_count": len(entries),
        }
        for topic in common_topic(entries):
            attributes["messaging.destination.name"] = topic
        assignments = {entry.assignment for entry in entries}
        partitions = {assignment.topic_partition for assignment in assignments}
        if len(partitions) == 1:
            attributes["messaging.destination.partition.id"] = str(partitions.pop().partition)
        return attributes


class RequestSpans:
    """The spans that end with a request: its own, and at a first request that of the batch."""

    def __init__(self, request: Span, batch: Span | None) -> None:
        self._request = request
        self._batch = batch

    def end(self, answer: Answer | None) -> None:
        """End the spans; None: the request was cancelled."""
        error = _error_of(answer)
        match answer:
            case Response(status=status):
                self._request.set_attribute("http.response.status_code", status)
                # A redirect is no error of HTTP, though the batch isn't delivered.
                _end(self._request, error if status >= 400 else None)
            case NotSent() | Ambiguous() | None:
                is_ambiguous = not isinstance(answer, NotSent)
                self._request.set_attribute("appmetrica.request.ambiguous", is_ambiguous)
                _end(self._request, error)
        if self._batch is not None:
            _end(self._batch, error)


class TracedRequests:
    """The requests to the API, each with its span."""

    def __init__(self, sink: Requests, traces: Traces) -> None:
        self._sink = sink
        self._traces = traces

    async def post(self, batch: Batch, time_factor: int = 1) -> Answer:
        """Send the batch once. Every failure is an answer."""
        spans = self._traces.begin(batch)
        answer: Answer | None = None
        try:
            answer = await self._sink.post(batch, time_factor)
        finally:
            if spans is not None:
                spans.end(answer)
        if isinstance(answer, Response) and answer.status == 200:
            self._traces.end(batch)
        return answer

    async def ask_time(self) -> Answer:
        """Ask for the date of an answer, without a span: no batch is concerned."""
        return await self._sink.ask_time()


def _error_of(answer: Answer | None) -> str | None:
    """Return why the batch is not delivered, as `error.type` names it; None: it is."""
    match answer:
        case Response(status=status):
            return None if status == 200 else str(status)
        case NotSent(fault=fault) | Ambiguous(fault=fault):
            return fault.value
        case None:
            return "cancelled"


def _end(span: Span, error: str | None) -> None:
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR)
    span.end()
