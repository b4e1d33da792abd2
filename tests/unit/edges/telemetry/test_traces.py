"""The spans of batches, of requests, and of writes to topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from tests.builders import make_assignment, make_batch, make_record, make_row
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch, RequestForm
from worker.core.model.row import Row
from worker.edges.telemetry.trace_export import LINKS_MAX, SCHEMA_URL
from worker.edges.telemetry.trace_links import RECORDS_READ_MAX
from worker.edges.telemetry.traces import BATCHES_MAX, TraceOptions, Traces

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OPTIONS = TraceOptions(
    "http://api.example:8080/base/", RequestForm.BODY, "group-1", "client-1", sample_ratio=1.0
)
OK, BUSY = Response(200, None, "", 0.1), Response(503, "1", "the row of ann@example.com", 0.1)
MOVED = Response(302, None, "", 0.1)
NOT_SENT = NotSent(TransportFault.CONNECT_FAILED, 0.1)
LOST = Ambiguous(TransportFault.TIMEOUT, 0.1)


class Answers:
    """An API that gives these answers in turn; None: it never answers."""

    def __init__(self, *answers: Answer | None) -> None:
        self._answers = list(answers)

    async def post(self, batch: Batch, time_factor: int) -> Answer:
        answer = self._answers.pop(0)
        if answer is None:
            await asyncio.Event().wait()
            raise AssertionError("never")
        return answer

    async def ask_time(self) -> Answer:
        return OK


class Traced:
    """Traces whose spans stay here."""

    def __init__(self, options: TraceOptions = OPTIONS, draws: Sequence[float] = ()) -> None:
        self._memory = InMemorySpanExporter()
        # The SDK's own bound is the same number, and would hide a missing bound.
        provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_links=10_000))
        provider.add_span_processor(SimpleSpanProcessor(self._memory))
        left = list(draws)
        self.traces = Traces(
            options,
            provider.get_tracer("test", schema_url=SCHEMA_URL),
            lambda: left.pop(0) if left else 0.0,
        )

    async def post(self, batch: Batch, *answers: Answer) -> None:
        requests = self.traces.requests(Answers(*answers))
        for _ in answers:
            await requests.post(batch, 1)

    def spans(self) -> list[ReadableSpan]:
        """In the order in which they began."""
        return sorted(self._memory.get_finished_spans(), key=lambda span: span.start_time or 0)

    def batches(self) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.kind is SpanKind.CONSUMER]

    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.spans() if span.kind is SpanKind.CLIENT]


def traced_row(offset: int, *, flags: str = "01", partition: int = 2, topic: str = "t") -> Row:
    header = ("traceparent", f"00-{TRACE}-{SPAN}-{flags}".encode())
    return make_row(
        offset,
        assignment=make_assignment(partition, topic=topic),
        record=make_record(offset, headers=[header]),
    )


async def test_a_batch_has_a_span_of_its_own_trace_and_its_request_is_a_child() -> None:
    traced = Traced()
    batch = make_batch([traced_row(7), traced_row(8)], batch_id="b-1")
    await traced.post(batch, OK)
    (span,), (request,) = traced.batches(), traced.requests()
    assert (span.name, request.name) == ("process t", "POST /base/logs/v1/import/events.csv")
    assert span.parent is None
    assert format_trace_id(span.context.trace_id) != TRACE
    assert request.parent is not None
    assert request.parent.span_id == span.context.span_id
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.client.id": "client-1",
        "messaging.consumer.group.name": "group-1",
        "messaging.batch.message_count": 2,
        "messaging.destination.name": "t",
        "messaging.destination.partition.id": "2",
        "appmetrica.application_id": "1111",
        "appmetrica.resource": "events",
        "appmetrica.batch.id": "b-1",
        "appmetrica.batch.records_traced": 2,
    }
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.request.body.size": batch.body_bytes,
        "http.response.status_code": 200,
        "url.full": "http://api.example:8080/base/logs/v1/import/events.csv",
        "server.address": "api.example",
        "server.port": 8080,
        "appmetrica.batch.id": "b-1",
        "appmetrica.batch.attempt": 1,
    }
    assert span.status.status_code is request.status.status_code is StatusCode.UNSET
    assert request.instrumentation_scope is not None
    assert request.instrumentation_scope.schema_url == SCHEMA_URL


async def test_a_link_leads_to_the_trace_of_each_sampled_record() -> None:
    traced = Traced()
    rows = [traced_row(7), make_row(8), traced_row(9, flags="00"), traced_row(10, partition=3)]
    await traced.post(make_batch(rows), OK)
    (span,) = traced.batches()
    assert [
        (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id))
        for link in span.links
    ] == [(TRACE, SPAN)] * 2
    assert [dict(link.attributes or {}) for link in span.links] == [
        {
            "messaging.destination.name": "t",
            "messaging.destination.partition.id": partition,
            "messaging.kafka.offset": offset,
        }
        for partition, offset in (("2", 7), ("3", 10))
    ]
    assert all(link.context.is_remote for link in span.links)
    # Of several partitions, or topics, none is that of the batch.
    assert "messaging.destination.partition.id" not in (span.attributes or {})


async def test_rows_of_several_topics_have_no_common_destination() -> None:
    traced = Traced()
    await traced.post(make_batch([traced_row(7), traced_row(8, topic="u")]), OK)
    (span,) = traced.batches()
    assert span.name == "process"
    assert "messaging.destination.name" not in (span.attributes or {})


async def test_links_are_bounded_and_the_others_are_counted() -> None:
    traced = Traced()
    await traced.post(make_batch([traced_row(number) for number in range(LINKS_MAX + 50)]), OK)
    (span,) = traced.batches()
    assert len(span.links) == LINKS_MAX
    assert (span.attributes or {})["appmetrica.batch.records_traced"] == LINKS_MAX + 50


async def test_the_headers_of_a_bounded_number_of_records_are_read() -> None:
    traced = Traced()
    rows = [*[make_row(0)] * (RECORDS_READ_MAX - 1), traced_row(1), traced_row(2)]
    await traced.post(make_batch(rows), OK)
    (span,) = traced.batches()
    assert (span.attributes or {})["messaging.batch.message_count"] == RECORDS_READ_MAX + 1
    assert (span.attributes or {})["appmetrica.batch.records_traced"] == 1


async def test_a_retry_is_a_further_request_of_the_same_trace() -> None:
    traced = Traced()
    await traced.post(make_batch([traced_row(7)]), BUSY, LOST, OK)
    (span,) = traced.batches()
    requests = traced.requests()
    assert {one.context.trace_id for one in requests} == {span.context.trace_id}
    assert {one.parent.span_id for one in requests if one.parent} == {span.context.span_id}
    attributes = [dict(one.attributes or {}) for one in requests]
    assert [one["appmetrica.batch.attempt"] for one in attributes] == [1, 2, 3]
    assert [one.get("http.request.resend_count") for one in attributes] == [None, 1, 2]
    assert [one.get("error.type") for one in attributes] == ["503", "timeout", None]
    assert (span.attributes or {})["error.type"] == "503"


@pytest.mark.parametrize(
    ("answer", "error", "is_request_error", "ambiguous"),
    [
        (OK, None, False, None),
        (BUSY, "503", True, None),
        (MOVED, "302", False, None),
        (NOT_SENT, "connect_failed", True, False),
        (LOST, "timeout", True, True),
    ],
)
async def test_an_answer_becomes_a_status(
    answer: Answer, error: str | None, is_request_error: bool, ambiguous: bool | None
) -> None:
    traced = Traced()
    await traced.post(make_batch(1), answer)
    (span,), (request,) = traced.batches(), traced.requests()
    assert (span.attributes or {}).get("error.type") == error
    assert (span.status.status_code is StatusCode.ERROR) is (error is not None)
    assert (request.status.status_code is StatusCode.ERROR) is is_request_error
    assert (request.attributes or {}).get("appmetrica.request.ambiguous") is ambiguous


async def test_a_cancelled_request_ends_its_spans() -> None:
    traced = Traced()
    requests = traced.traces.requests(Answers(None))
    task = asyncio.create_task(requests.post(make_batch(1), 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(span.attributes or {})["error.type"] for span in traced.spans()] == ["cancelled"] * 2


async def test_no_span_shows_a_key_a_query_a_payload_or_a_text_of_the_api() -> None:
    options = replace(OPTIONS, form=RequestForm.PARAMS)
    traced = Traced(options)
    await traced.post(make_batch([traced_row(7)]), BUSY)
    shown = "".join(span.to_json() for span in traced.spans())
    assert "user-2-7" not in shown
    assert "ann@example.com" not in shown
    assert "?" not in shown
    assert traced.requests()[0].name == "POST /base/logs/v1/import/events"


async def test_a_share_of_the_batches_is_traced_with_all_their_requests() -> None:
    traced = Traced(replace(OPTIONS, sample_ratio=0.25), draws=[0.25, 0.24])
    await traced.post(make_batch([traced_row(1)], batch_id="not traced"), BUSY, OK)
    await traced.post(make_batch([traced_row(2)], batch_id="traced"), BUSY, OK)
    assert {(span.attributes or {})["appmetrica.batch.id"] for span in traced.spans()} == {"traced"}
    assert len(traced.requests()) == 2


async def test_a_log_line_that_names_a_batch_names_its_trace() -> None:
    traced = Traced(replace(OPTIONS, sample_ratio=0.5), draws=[0.0, 0.9])
    await traced.post(make_batch(1, batch_id="traced"), BUSY)
    await traced.post(make_batch(1, batch_id="not traced"), BUSY)
    trace_id = format_trace_id(traced.batches()[0].context.trace_id)
    assert traced.traces.log_fields({"batch_id": "traced", "rows": 1}) == {"trace_id": trace_id}
    for fields in ({"batch_id": "not traced"}, {"batch_id": "unknown"}, {}):
        assert traced.traces.log_fields(fields) == {}


async def test_batches_are_remembered_up_to_a_bound_and_delivered_ones_are_forgotten_first() -> (
    None
):
    traced = Traced()
    await traced.post(make_batch(1, batch_id="waits"), BUSY)
    for number in range(BATCHES_MAX * 2):
        await traced.post(make_batch(1, batch_id=f"b-{number}"), OK)
    await traced.post(make_batch(1, batch_id="waits"), OK)
    ours = [
        span for span in traced.spans() if (span.attributes or {})["appmetrica.batch.id"] == "waits"
    ]
    assert len({span.context.trace_id for span in ours}) == 1
    assert len(ours) == 3
    for number in range(BATCHES_MAX + 1):
        await traced.post(make_batch(1, batch_id=f"fails-{number}"), BUSY)
    assert traced.traces.log_fields({"batch_id": "waits"}) == {}


async def test_the_question_for_the_time_has_no_span() -> None:
    traced = Traced()
    assert await traced.traces.requests(Answers()).ask_time() == OK
    assert traced.spans() == []


def test_a_write_to_a_topic_has_a_span_with_links_and_its_faults() -> None:
    traced = Traced()
    rows = [traced_row(7), make_row(8)]
    started = time.time_ns() - 1_000_000
    traced.traces.note_write("t.dlq", rows, [], started)
    traced.traces.note_write("t.dlq", rows, [TimeoutError()], started + 1)
    written, failed = traced.spans()
    assert (written.name, written.kind) == ("send t.dlq", SpanKind.CLIENT)
    assert written.start_time == started
    assert [format_trace_id(link.context.trace_id) for link in written.links] == [TRACE]
    assert dict(written.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.client.id": "client-1",
        "messaging.destination.name": "t.dlq",
        "messaging.batch.message_count": 2,
        "appmetrica.batch.records_traced": 1,
    }
    assert (failed.attributes or {})["error.type"] == "TimeoutError"
    assert (failed.attributes or {})["appmetrica.batch.records_failed"] == 1
    assert failed.status.status_code is StatusCode.ERROR


def test_a_share_of_the_writes_is_traced() -> None:
    traced = Traced(replace(OPTIONS, sample_ratio=0.25), draws=[0.25])
    traced.traces.note_write("t.dlq", [make_row(1)], [], time.time_ns())
    assert traced.spans() == []
