"""Random answers over real sockets: none raises, and each means what its status line says."""

from __future__ import annotations

import asyncio
import re

from hypothesis import example, given
from hypothesis import strategies as st

from tests.searches import examples
from tests.sinks import impatient_sink_to, recent, replying, server, shows_key
from worker.core.delivery.outcome import Delivered, Retry, classify
from worker.core.model.answer import Ambiguous, Answer, Response

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-9][0-9]{2})( [^\n]*)?\r?\n", re.DOTALL)

names = st.sampled_from(
    [
        b"Retry-After",
        b"Date",
        b"Content-Length",
        b"Content-Type",
        b"Content-Encoding",
        b"Transfer-Encoding",
        b"Set-Cookie",
        b"Connection",
        b"Location",
        b"X",
    ]
) | st.binary(max_size=6)
digits = st.text("0123456789", max_size=12).map(str.encode)
dates = st.builds(b"%b, %b %b %b %b:%b:00 %b%b".__mod__, st.tuples(
    st.sampled_from([b"Thu", b""]), digits, st.sampled_from([b"Jan", b"Zzz"]),
    digits, digits, digits, st.sampled_from([b"GMT", b"+", b"-"]), digits,
))  # fmt: skip
values = (
    dates
    | digits
    | st.binary(max_size=20)
    | st.sampled_from([b"chunked", b"gzip", b"close", b"a=b; expires=Thu, 99 Z"])
)
headers = st.lists(st.tuples(names, values), max_size=6).map(
    lambda some: b"".join(b"%b: %b\r\n" % one for one in some)
)
status_lines = (
    st.builds(
        b"HTTP/1.1 %d %b\r\n".__mod__, st.tuples(st.integers(200, 999), st.binary(max_size=6))
    )
    | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 Later\r\n", b"HTTP/1.0 429\r\n"])
    | st.binary(max_size=12)
)
answers = st.builds(b"%b%b\r\n%b".__mod__, st.tuples(status_lines, headers, st.binary(max_size=40)))


async def answer_of(reply: bytes) -> Answer:
    async with server(replying(reply, then_closes=True)) as url, impatient_sink_to(url) as sink:
        return await sink.post(recent())


@examples(150)
@given(answers, st.integers(0, 200))
@example(b"HTTP/1.1 503 Later\r\nRetry-After: Thu, 01 Jan 99999999999 00:00:00 GMT\r\n\r\n", 200)
@example(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", 200)
def test_no_answer_raises_and_only_a_200_is_success(whole: bytes, length: int) -> None:
    reply = whole[:length]
    answer = asyncio.run(answer_of(reply))
    outcome = classify(answer, unix_seconds=1_700_000_000.0, retry_after_seconds_max=300.0)
    match = STATUS_LINE.match(reply.lstrip(b"\r\n"))
    if match is not None:
        assert isinstance(answer, Response), answer
        assert answer.status == int(match[1])
    else:
        assert isinstance(answer, Ambiguous), answer
    assert isinstance(outcome, Delivered) == (match is not None and int(match[1]) == 200)
    assert not isinstance(outcome, Retry) or 0 <= outcome.wait_seconds_min <= 300
    assert not shows_key(repr(answer))
