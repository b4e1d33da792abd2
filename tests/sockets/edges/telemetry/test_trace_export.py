"""Spans on their way to a collector that is there, away, slow, or refuses them."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.collector import collector, values
from worker.edges.telemetry.reading import SpanCounts
from worker.edges.telemetry.trace_export import (
    QUEUE_SPANS_MAX,
    SCHEMA_URL,
    ExportOptions,
    SpanExport,
)

SECRET = "Bearer of-the-collector-5f1e"


@pytest.fixture(autouse=True)
def _sdk_logger_as_before() -> Iterator[None]:
    sdk = logging.getLogger("opentelemetry")
    propagates, handlers = sdk.propagate, sdk.handlers[:]
    yield
    sdk.propagate, sdk.handlers = propagates, handlers


@asynccontextmanager
async def exporting(endpoint: str, *, timeout_seconds: float = 5.0) -> AsyncIterator[SpanExport]:
    options = ExportOptions(
        f"{endpoint}/v1/traces", {"Authorization": SECRET}, timeout_seconds, "instance-1", "1.2.3"
    )
    export = SpanExport(options)
    export.start()
    try:
        yield export
    finally:
        await export.close(0.0)


def end_spans(export: SpanExport, count: int) -> None:
    tracer = export.tracer()
    for number in range(count):
        tracer.start_span(f"span-{number}").end()


async def test_spans_arrive_with_the_headers_and_in_the_name_of_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    # A proxy that isn't there: the collector is asked without it.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with collector() as ours, exporting(ours.url) as export:
        end_spans(export, 3)
        await export.close(5.0)
        assert [span.name for span in ours.spans()] == ["span-0", "span-1", "span-2"]
        assert ours.headers[0]["authorization"] == SECRET
        resource = ours.resources[0]
        assert resource.scope_spans[0].schema_url == SCHEMA_URL
        attributes = values(resource.resource.attributes)
        assert attributes["service.name"] == "appmetrica-worker"
        assert attributes["service.version"] == "1.2.3"
        assert attributes["service.instance.id"] == "instance-1"
        assert attributes["deployment.environment.name"] == "test"
        assert export.counts() == SpanCounts(exported=3, failed=0, dropped=0)


async def test_the_name_of_the_service_may_come_from_the_sdks_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "events-of-the-shop")
    async with collector() as ours, exporting(ours.url) as export:
        end_spans(export, 1)
        await export.close(5.0)
        attributes = values(ours.resources[0].resource.attributes)
        assert attributes["service.name"] == "events-of-the-shop"


async def test_a_collector_that_refuses_costs_one_line_until_it_accepts_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with collector() as ours, exporting(ours.url) as export:
        ours.status = 400
        end_spans(export, 1)
        await ours.wait_for_requests(1)
        end_spans(export, 1)
        await ours.wait_for_requests(2)
        ours.status = 200
        end_spans(export, 1)
        await ours.wait_for(lambda spans: len(spans) == 1)
        await export.close(5.0)
        assert export.counts() == SpanCounts(exported=1, failed=2, dropped=0)
    ours_only = [record for record in caplog.records if not record.name.startswith("aiohttp")]
    assert [record.getMessage() for record in ours_only] == [
        "traces_not_accepted",
        "traces_accepted_again",
    ]
    assert "400" in ours_only[0].__dict__["detail"]
    assert SECRET not in caplog.text + repr(ours_only[0].__dict__)


async def test_a_collector_that_is_away_costs_a_bounded_queue_and_a_bounded_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Nothing listens on this port of the discard service.
    async with exporting("http://127.0.0.1:9", timeout_seconds=60.0) as export:
        end_spans(export, QUEUE_SPANS_MAX + 30)
        counts = export.counts()
        assert (counts.exported, counts.dropped) == (0, 30)
        await export.close(0.05)
        (line,) = caplog.records
        assert line.getMessage() == "traces_left_behind"
        assert line.__dict__["spans"] == QUEUE_SPANS_MAX


async def test_a_collector_that_says_nothing_does_not_hold_up_the_end() -> None:
    async with collector() as ours, exporting(ours.url, timeout_seconds=60.0) as export:
        ours.is_silent = True
        end_spans(export, 200)
        await ours.wait_for_requests(1)
        await export.close(0.05)
        assert export.counts().exported == 0
        senders = [thread for thread in threading.enumerate() if "Otel" in thread.name]
        assert [thread.daemon for thread in senders] == [True]


async def test_the_loop_never_waits_for_a_collector() -> None:
    async with collector() as ours, exporting(ours.url, timeout_seconds=60.0) as export:
        ours.is_silent = True
        # If ending a span waited for the collector, which is served by this very loop, it would
        # never end.
        end_spans(export, QUEUE_SPANS_MAX * 3)
        assert export.counts().dropped == QUEUE_SPANS_MAX * 2
        await ours.wait_for_requests(1)
