"""The sink against real sockets: every end of a request becomes an answer without the key."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256
from urllib.parse import quote

import pytest

from tests.builders import make_batch, make_row
from tests.sinks import KEY, raw_server, recent, sink_to
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch, RequestForm
from worker.edges.post_api.answer_head import HEAD_BYTES_MAX, HEADERS_MAX, LINE_BYTES_MAX
from worker.edges.post_api.connections import Upload
from worker.edges.post_api.sink import EXCERPT_CHARACTERS_MAX, excerpt_of
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.kafka import free_ports


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(keys={1111: KEY})) as emulator:
        yield emulator


async def test_a_batch_arrives_with_its_id_and_its_very_bytes(emulator: Emulator) -> None:
    batch = recent(3)
    async with sink_to(emulator.base_url) as sink:
        answer = await sink.post(batch)
    assert isinstance(answer, Response)
    assert (answer.status, answer.excerpt) == (200, "")
    (request,) = emulator.ledger.requests
    assert (request.request_id, request.rows_kept) == ("b-1", 3)
    assert request.sha256 == sha256(batch.body()).hexdigest()


async def test_a_request_that_fails_leaves_no_body_behind_for_the_garbage_collector() -> None:
    (port,) = free_ports(1)
    batch = make_batch([make_row(0, line=b"x" * 1_000_000)])
    gc.collect()
    gc.disable()
    try:
        async with sink_to(f"http://127.0.0.1:{port}") as sink:
            for _ in range(3):
                assert isinstance(await sink.post(batch), NotSent)
            await asyncio.sleep(0)
            kept = [one for one in gc.get_objects() if isinstance(one, Upload)]
    finally:
        gc.enable()
    assert not kept


async def test_a_body_of_several_megabytes_arrives_whole(emulator: Emulator) -> None:
    rows = [make_row(0, line=f"1111,u,{'x' * 3_000_000},{int(time.time())}{',' * 19}\n".encode())]
    async with sink_to(emulator.base_url) as sink:
        answer = await sink.post(make_batch(rows))
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert emulator.ledger.requests[0].bytes > 3_000_000


QUERY = (
    b"application_id=1111&profile_id=a%%20b%%2Bc&event_name=%%D1%%8F%%26&event_timestamp=%d"
    b"&event_json=%%7B%%22a%%22%%3A1%%7D"
)


def one_query() -> Batch:
    row = make_row(0, line=QUERY % int(time.time()))
    return Batch.of("b-1", row.destination, b"", (row,))


async def test_a_row_in_the_query_string_arrives_cell_by_cell(emulator: Emulator) -> None:
    async with sink_to(emulator.base_url, form=RequestForm.PARAMS) as sink:
        answer = await sink.post(one_query())
    assert isinstance(answer, Response)
    assert answer.status == 200
    values = emulator.ledger.rows[0].as_dict()["values"]
    assert isinstance(values, dict)
    assert (values["profile_id"], values["event_name"], values["event_json"]) == (
        "a b+c",
        "я&",
        '{"a":1}',
    )
    assert (emulator.ledger.requests[0].request_id, emulator.ledger.requests[0].bytes) == ("b-1", 0)


async def test_a_query_string_goes_over_the_wire_as_it_was_written_with_an_empty_body() -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 60\r\n\r\n"
            + (b"for " + request.partition(b"?")[2])[:60]
        )

    batch = one_query()
    async with raw_server(answer) as url, sink_to(url, form=RequestForm.PARAMS) as sink:
        response = await sink.post(batch)
    head = seen[0].decode()
    assert head.startswith(
        f"POST /logs/v1/import/events?post_api_key=the%2Fkey%2Bof%3D1111&{batch.body().decode()} "
        "HTTP/1.1\r\n"
    )
    assert "\r\nContent-Length: 0\r\n" in head
    assert "Content-Type" not in head
    assert isinstance(response, Response)
    # Whatever quotes the URL quotes the key with it.
    assert response.excerpt.startswith("for post_api_key=***&")


@pytest.mark.parametrize(
    "fault", [FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE, FaultKind.BROKEN_BODY]
)
async def test_no_fault_of_a_query_string_shows_it(
    emulator: Emulator, fault: FaultKind, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.plan(PlannedFault(fault))
    async with sink_to(emulator.base_url, form=RequestForm.PARAMS) as sink:
        answer = await sink.post(one_query())
    for secret in (KEY, quote(KEY, safe=""), "profile_id"):
        assert secret not in repr(answer) + caplog.text


CASES: dict[str, tuple[PlannedFault, type[Answer], object]] = {
    "503": (PlannedFault(FaultKind.STATUS, status=503), Response, 503),
    "redirect is not followed": (
        PlannedFault(FaultKind.REDIRECT, status=302, location="/logs/v1"),
        Response,
        302,
    ),
    "200 with a broken body is a 200": (PlannedFault(FaultKind.BROKEN_BODY), Response, 200),
    "200 that drips is a 200": (
        PlannedFault(FaultKind.SLOW_DRIP, delay_seconds=0.05),
        Response,
        200,
    ),
    "reset before the body": (
        PlannedFault(FaultKind.RESET_BEFORE),
        Ambiguous,
        TransportFault.CONNECTION_LOST,
    ),
    "reset in the body": (
        PlannedFault(FaultKind.RESET_DURING),
        Ambiguous,
        TransportFault.CONNECTION_LOST,
    ),
    "reset after the body": (
        PlannedFault(FaultKind.RESET_AFTER),
        Ambiguous,
        TransportFault.CONNECTION_LOST,
    ),
    "accepted, then dropped": (
        PlannedFault(FaultKind.ACCEPT_THEN_DROP),
        Ambiguous,
        TransportFault.CONNECTION_LOST,
    ),
    "no answer in time": (
        PlannedFault(FaultKind.DELAY, delay_seconds=3.0),
        Ambiguous,
        TransportFault.TIMEOUT,
    ),
}


@pytest.mark.parametrize(("fault", "kind", "what"), CASES.values(), ids=CASES)
async def test_every_end_of_a_request_is_an_answer(
    emulator: Emulator, fault: PlannedFault, kind: type[Answer], what: object
) -> None:
    emulator.plan(fault)
    async with sink_to(emulator.base_url, total_seconds=1.0) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, kind)
    assert (answer.status if isinstance(answer, Response) else answer.fault) == what
    assert KEY not in repr(answer)


async def test_a_refused_connection_was_not_sent() -> None:
    (port,) = free_ports(1)
    async with sink_to(f"http://127.0.0.1:{port}") as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, NotSent)
    assert answer.fault is TransportFault.CONNECT_FAILED


async def test_a_name_that_does_not_resolve_was_not_sent() -> None:
    async with sink_to("http://no-such-host.invalid") as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, NotSent)
    assert answer.fault is TransportFault.CONNECT_FAILED


async def test_a_server_without_tls_was_not_sent_to(emulator: Emulator) -> None:
    async with sink_to(emulator.base_url.replace("http:", "https:")) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, NotSent)
    assert answer.fault is TransportFault.TLS_FAILED


async def test_retry_after_is_handed_on_as_sent(emulator: Emulator) -> None:
    emulator.plan(PlannedFault(FaultKind.STATUS, status=429, retry_after="17"))
    async with sink_to(emulator.base_url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert (answer.status, answer.retry_after) == (429, "17")


HOSTILE: dict[str, tuple[bytes, TransportFault]] = {
    "no HTTP": (b"garbage\r\n\r\n", TransportFault.BROKEN_ANSWER),
    "nothing": (b"", TransportFault.CONNECTION_LOST),
    "half a status line": (b"HTTP/1.1 20", TransportFault.CONNECTION_LOST),
    "interim answers only": (
        b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 40_000,
        TransportFault.BROKEN_ANSWER,
    ),
}


@pytest.mark.parametrize(("reply", "fault"), HOSTILE.values(), ids=HOSTILE)
async def test_what_is_no_answer_is_ambiguous(reply: bytes, fault: TransportFault) -> None:
    async with raw_server(lambda _: reply) as url, sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Ambiguous)
    assert answer.fault is fault


LARGE_HEADS: dict[str, bytes] = {
    "a header of 9,000 bytes": b"X: " + b"x" * 9_000 + b"\r\n",
    "a header of 60,000 bytes": b"X: " + b"x" * 60_000 + b"\r\n",
    "a header beyond the bound": b"X: " + b"x" * 2 * LINE_BYTES_MAX + b"\r\n",
    "130 headers": b"X: y\r\n" * 130,
    "1,000 headers but the others": b"X: y\r\n" * (HEADERS_MAX - 3),
    "more headers than the bound": b"X: y\r\n" * 2 * HEADERS_MAX,
    "more bytes than the bound": (b"X: " + b"x" * 60_000 + b"\r\n") * 20,
}


@pytest.mark.parametrize("headers", LARGE_HEADS.values(), ids=LARGE_HEADS)
@pytest.mark.parametrize("status", [b"200 OK", b"403 No", b"503 Later"])
async def test_the_status_line_decides_however_large_the_headers(
    headers: bytes, status: bytes
) -> None:
    # The awaited line is before the part that is too large.
    head = (
        b"HTTP/1.1 " + status + b"\r\nRetry-After: 17\r\nContent-Length: 0\r\n" + headers + b"\r\n"
    )
    async with raw_server(lambda _: head) as url, sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert (answer.status, answer.retry_after) == (int(status[:3]), "17")


async def test_headers_that_are_each_within_the_bounds_are_bounded_together() -> None:
    header, written = b"X: " + b"x" * 60_000 + b"\r\n", 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with suppress(ConnectionError):
            for _ in range(HEADERS_MAX - 1):
                writer.write(header)
                await writer.drain()
                written += len(header)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with (
        listening,
        sink_to(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}") as sink,
    ):
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert answer.status == 200
    # What the system's buffers hold beside it.
    assert written < HEAD_BYTES_MAX + 20_000_000


@pytest.mark.parametrize(
    "headers", [b"X: " + b"x" * 60_000 + b"\r\n", b"X: y\r\n" * 990], ids=["one large", "many"]
)
async def test_headers_within_the_bounds_leave_the_excerpt_as_it_is(headers: bytes) -> None:
    reply = b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n" + headers + b"\r\nwhy"
    async with raw_server(lambda _: reply) as url, sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert (answer.status, answer.excerpt) == (400, "why")


@pytest.mark.parametrize("before", range(EXCERPT_CHARACTERS_MAX - len(KEY), EXCERPT_CHARACTERS_MAX))
def test_an_excerpt_that_ends_within_the_key_shows_none_of_it(before: int) -> None:
    excerpt = excerpt_of(b"x" * before + KEY.encode() + b" and more", (KEY,))
    assert excerpt == ("x" * before + "*** and more")[:EXCERPT_CHARACTERS_MAX]


async def test_the_excerpt_is_one_short_line_without_the_key() -> None:
    def echo(_: bytes) -> bytes:
        body = f"<html>\n  no: post_api_key={KEY} \xff".encode() + b"\xff" + b"y" * 100_000
        return b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async with raw_server(echo) as url, sink_to(url) as sink:
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert answer.excerpt.startswith("<html> no: post_api_key=*** ")
    assert len(answer.excerpt) <= EXCERPT_CHARACTERS_MAX
    assert KEY not in answer.excerpt


async def test_a_connection_that_the_server_has_closed_is_noticed_and_the_next_attempt_gets_through(
    emulator: Emulator,
) -> None:
    async with sink_to(emulator.base_url) as sink:
        emulator.plan(PlannedFault(FaultKind.RESET_AFTER, count=1))
        assert isinstance(await sink.post(recent()), Ambiguous)
        answer = await sink.post(recent())
    assert isinstance(answer, Response)
    assert answer.status == 200
