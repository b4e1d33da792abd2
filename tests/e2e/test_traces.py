"""Traces of a real worker on real Kafka, as a collector gets them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector import collector, values
from tests.e2e.stage import KEYS, Stage, on_stage
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.topics import Published, publish, read_all

PASSWORD = "Basic password-of-the-collector-2b9d"
# The trace of each producer's request, by the number of its record.
TRACES = [f"{number + 1:032x}" for number in range(4)]
SPAN = "00f067aa0ba902b7"


@pytest.fixture
async def stage(
    bootstrap_servers: str, new_topic: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Stage]:
    async with on_stage(bootstrap_servers, new_topic("traces"), tmp_path) as stage:
        yield stage


def record(number: int, *, is_valid: bool = True, is_sampled: bool = True) -> Published:
    event = {
        "application_id": 1111,
        "profile_id": f"user-{number}",
        "event_name": "purchase",
        "event_timestamp": int(time.time()) if is_valid else 1,
    }
    context = f"00-{TRACES[number]}-{SPAN}-0{int(is_sampled)}"
    # One key: one partition, and one batch.
    return Published(b"key", json.dumps(event).encode(), [("traceparent", context.encode())])


def linked(span: Span) -> list[str]:
    return [link.trace_id.hex() for link in span.links]


def lines(stage: Stage) -> list[dict[str, Any]]:
    text = stage.workers[0].log_file.read_text()
    return [json.loads(line) for line in text.splitlines()]


async def test_a_batch_with_a_retry_and_a_dead_letter_arrive_as_linked_spans(stage: Stage) -> None:
    records = [record(0), record(1), record(2, is_sampled=False), record(3, is_valid=False)]
    await publish(stage.bootstrap_servers, stage.topic, records)
    stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503, count=1))
    async with collector() as ours:
        worker = await stage.start_worker(
            {
                "tracing": {
                    "enabled": True,
                    "endpoint": ours.url,
                    "headers": {"authorization": PASSWORD},
                },
                "delivery": {"breaker_failures_max": 1, "backoff_initial_seconds": 0.1},
            }
        )
        # The batch, its two requests, and the dead letter.
        await ours.wait_for(lambda spans: len(spans) == 4)
        metrics = await worker.metrics()
        worker.send(signal.SIGTERM)
        assert await worker.wait(45.0) == 0
        spans = ours.spans()
        assert ours.headers[0]["authorization"] == PASSWORD
    by_name: dict[str, list[Span]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)

    (batch,) = by_name[f"process {stage.topic}"]
    assert batch.kind == Span.SPAN_KIND_CONSUMER
    assert linked(batch) == TRACES[:2]
    attributes = values(batch.attributes)
    assert attributes["messaging.batch.message_count"] == 3
    assert attributes["messaging.consumer.group.name"] == stage.topic
    offsets = [values(link.attributes)["messaging.kafka.offset"] for link in batch.links]
    assert offsets == [0, 1]

    first, second = by_name["POST /logs/v1/import/events.csv"]
    assert {one.trace_id for one in (first, second)} == {batch.trace_id}
    assert {one.parent_span_id for one in (first, second)} == {batch.span_id}
    answers = [values(one.attributes)["http.response.status_code"] for one in (first, second)]
    assert answers == [503, 200]
    assert values(second.attributes)["http.request.resend_count"] == 1

    (written,) = by_name[f"send {stage.dead_letter_topic}"]
    assert linked(written) == TRACES[3:]

    # A dead letter keeps the trace of its producer.
    (letter,) = await read_all(stage.bootstrap_servers, stage.dead_letter_topic)
    assert dict(letter.headers)["traceparent"] == records[3].headers[0][1]

    # A line about the batch leads to its trace, and to that of a producer.
    (opened,) = [line for line in lines(stage) if line["event"] == "breaker_opened"]
    assert opened["trace_id"] == batch.trace_id.hex()
    assert opened["producer_trace_id"] == TRACES[0]
    assert opened["batch_id"] == attributes["appmetrica.batch.id"]

    assert 'appmetrica_worker_trace_spans_total{result="failed"} 0.0' in metrics
    shown = "".join(str(span) for span in spans) + worker.log_file.read_text() + metrics
    for secret in (*KEYS.values(), PASSWORD, "user-0", "post_api_key"):
        assert secret not in shown


async def test_without_a_collector_everything_is_delivered_and_one_line_says_so(
    stage: Stage,
) -> None:
    await publish(stage.bootstrap_servers, stage.topic, [record(0), record(1)])
    # Nothing listens on this port.
    tracing = {"enabled": True, "endpoint": "http://127.0.0.1:9", "timeout_seconds": 0.5}
    worker = await stage.start_worker({"tracing": tracing})
    await stage.await_rows(2)
    await stage.await_settled()
    worker.send(signal.SIGTERM)
    assert await worker.wait(45.0) == 0
    events = [line["event"] for line in lines(stage)]
    assert events.count("traces_not_accepted") == 1
    assert [line for line in lines(stage) if line["logger"].startswith("opentelemetry")] == []
