"""Which trace context a record has."""

from __future__ import annotations

import pytest

from tests.builders import make_record
from worker.core.wire.trace_context import TraceContext, first_trace_id, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(VALID, TraceContext(TRACE, SPAN, is_sampled=True), id="sampled"),
        pytest.param(
            f"00-{TRACE}-{SPAN}-00".encode(),
            TraceContext(TRACE, SPAN, is_sampled=False),
            id="not sampled",
        ),
        pytest.param(
            f"00-{TRACE}-{SPAN}-03".encode(),
            TraceContext(TRACE, SPAN, is_sampled=True),
            id="further flags",
        ),
        pytest.param(
            f"cc-{TRACE}-{SPAN}-01-what-the-future-brings".encode(),
            TraceContext(TRACE, SPAN, is_sampled=True),
            id="later version",
        ),
        pytest.param(VALID + b"-more", None, id="version 00 with a fifth part"),
        pytest.param(b"ff" + VALID[2:], None, id="forbidden version"),
        pytest.param(f"00-{'0' * 32}-{SPAN}-01".encode(), None, id="trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01".encode(), None, id="span id of zeros"),
        pytest.param(VALID.upper(), None, id="capitals"),
        pytest.param(VALID + b"\n", None, id="line break"),
        pytest.param(VALID[:-1], None, id="short"),
        pytest.param(b"\xff\x00", None, id="bytes"),
        pytest.param(b"", None, id="empty"),
        pytest.param(None, None, id="null"),
    ],
)
def test_a_header_is_read_by_the_rules_of_the_standard(
    value: bytes | None, expected: TraceContext | None
) -> None:
    record = make_record(headers=[("event-id", b"7"), ("traceparent", value)])
    assert trace_context(record) == expected


def test_the_first_header_that_has_a_value_counts_alone() -> None:
    assert trace_context(make_record()) is None
    headers = [("traceparent", b"nonsense"), ("traceparent", VALID)]
    assert trace_context(make_record(headers=headers)) is None


def test_the_trace_of_records_is_that_of_the_first_with_a_valid_context() -> None:
    traced = make_record(headers=[("traceparent", VALID)])
    assert first_trace_id([make_record(), traced, make_record()]) == TRACE
    assert first_trace_id([make_record()]) is None
