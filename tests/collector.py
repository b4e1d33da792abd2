"""A collector of traces in the test's own process: OTLP over HTTP, decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

WAIT_SECONDS_MAX = 20.0


class Collector:
    """Keeps what is posted to it. `status` is its answer."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.is_silent = False
        self.headers: list[dict[str, str]] = []
        self.resources: list[ResourceSpans] = []
        self._arrival = asyncio.Condition()
        self._end = asyncio.Event()

    def spans(self) -> list[Span]:
        """Every span, in the order in which they began."""
        spans = [
            span
            for resource in self.resources
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return sorted(spans, key=lambda span: span.start_time_unix_nano)

    async def wait_for(self, is_enough: Callable[[list[Span]], bool]) -> list[Span]:
        """Wait until the spans are enough, and return them."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._arrival:
            await self._arrival.wait_for(lambda: is_enough(self.spans()))
        return self.spans()

    async def wait_for_requests(self, count: int) -> None:
        """Wait until this many requests have come."""
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._arrival:
            await self._arrival.wait_for(lambda: len(self.headers) >= count)

    async def take(self, request: web.Request) -> web.Response:
        """Answer a request for `/v1/traces`."""
        body = await request.read()
        async with self._arrival:
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            if self.status == 200 and not self.is_silent:
                decoded = ExportTraceServiceRequest()
                # aiohttp has unpacked it.
                decoded.ParseFromString(body)
                self.resources.extend(decoded.resource_spans)
            self._arrival.notify_all()
        if self.is_silent:
            await self._end.wait()
        return web.Response(status=self.status)

    def end(self) -> None:
        """Answer all that wait for an answer."""
        self._end.set()


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Serve on a free port of the loopback interface."""
    ours = Collector()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/v1/traces", ours.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        ours.url = f"http://{host}:{port}"
        yield ours
    finally:
        ours.end()
        await runner.cleanup()


def values(attributes: object) -> dict[str, object]:
    """The attributes of a span, of a link or of a resource."""
    return {one.key: _value(one.value) for one in attributes if isinstance(one, KeyValue)}  # type: ignore[attr-defined]


def _value(value: AnyValue) -> object:
    return getattr(value, value.WhichOneof("value") or "string_value")
