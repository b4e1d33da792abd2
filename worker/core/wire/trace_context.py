"""The W3C trace context that a producer's tracing has written to a record's headers.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from worker.core.model.record import Record

TRACEPARENT = "traceparent"
# Version, trace id, span id, flags, and what a later version may add.
_VALUE = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_SAMPLED = 1


class TraceContext(NamedTuple):
    """The span in which a record was produced. The ids are in hexadecimal digits."""

    trace_id: str
    span_id: str
    is_sampled: bool


def trace_context(record: Record) -> TraceContext | None:
    """Return the trace context of a record; None without a valid header."""
    for name, value in record.headers:
        if name == TRACEPARENT and value is not None:
            return _parsed(value)
    return None


def first_trace_id(records: Iterable[Record]) -> str | None:
    """Return the trace id of the first record that has a valid trace context."""
    for record in records:
        context = trace_context(record)
        if context is not None:
            return context.trace_id
    return None


def _parsed(value: bytes) -> TraceContext | None:
    match = _VALUE.fullmatch(value)
    # Version 00 has exactly four parts; of a later version only these four are understood.
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return TraceContext(match[2].decode(), match[3].decode(), bool(int(match[4], 16) & _SAMPLED))
