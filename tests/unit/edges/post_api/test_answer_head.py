"""The start of an answer, in whatever pieces it comes."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.edges.post_api.answer_head import HEAD_BYTES_MAX, LINE_BYTES_MAX, AnswerHead

HEAD = (
    b"HTTP/1.1 429 Slow\r\nX: y\r\nretry-AFTER: 7 \r\nDate: Sun, 06 Nov 1994 08:49:37 "
    b"GMT\r\n\r\nRetry-After: 9\r\n"
)


def read(*pieces: bytes) -> AnswerHead:
    head = AnswerHead()
    for piece in pieces:
        head.feed(piece)
    return head


@given(st.lists(st.integers(0, len(HEAD)), max_size=10))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    marks = [0, *sorted(cuts), len(HEAD)]
    head = read(*(HEAD[begin:end] for begin, end in pairwise(marks)))
    assert (head.status, head.header("retry-after")) == (429, "7")
    assert head.header("date") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert head.header("x") is None


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK", None),
        (b"HTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 200 OK\n", 200),
        (b"HTTP/1.1 200\r\n", 200),
        (b"HTTP/1.0 200 OK\r\n", 200),
        (b"\r\nHTTP/1.1 200 OK\r\n", 200),
        (b"HTTP/1.1 200 \xff\x00\r\n", 200),
        (b"HTTP/1.1 200 " + b"y" * LINE_BYTES_MAX, 200),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 Later\r\n", 503),
        (b"HTTP/1.1 103 Early Hints\r\nHTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n", 101),
        (b"HTTP/1.1 2000 OK\r\n", None),
        (b"HTTP/1.1 20 OK\r\n", None),
        (b"HTTP/1.1 OK 200\r\n", None),
        (b"HTTP/2 200 OK\r\n", None),
        (b"SSH-2.0-OpenSSH_9.6\r\nHTTP/1.1 200 OK\r\n", None),
        (b"y" * LINE_BYTES_MAX + b"\r\nHTTP/1.1 200 OK\r\n", None),
    ],
)
def test_a_status_line_counts_once_it_is_complete(reply: bytes, status: int | None) -> None:
    assert read(reply).status == status


def test_of_several_headers_the_first_counts_and_those_of_an_interim_answer_do_not() -> None:
    reply = (
        b"HTTP/1.1 103 Early\r\nRetry-After: 1\r\n\r\nHTTP/1.1 503 Later\r\nRetry-After: "
        b"2\r\nRetry-After: 3\r\n\r\n"
    )
    assert read(reply).header("retry-after") == "2"


def test_lines_without_end_are_counted_and_not_kept() -> None:
    head = read(b"HTTP/1.1 200 OK\r\n")
    for _ in range(HEAD_BYTES_MAX // LINE_BYTES_MAX + 1):
        head.feed(b"y" * LINE_BYTES_MAX)
    assert head.is_too_large
    assert len(head._line) == LINE_BYTES_MAX


def test_a_body_of_any_size_is_no_part_of_the_head() -> None:
    assert not read(b"HTTP/1.1 200 OK\r\n\r\n", *[b"y\n" * LINE_BYTES_MAX] * 20).is_too_large


@given(st.binary(max_size=200) | st.binary(max_size=60).map(b"HTTP/1.1 ".__add__))
def test_nothing_that_comes_raises(reply: bytes) -> None:
    status = read(reply).status
    assert status is None or re.match(rb"(?s).*HTTP/1\.[01] %d" % status, reply)
