"""Links from a batch's span to the traces of its records."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from opentelemetry.trace import Link, SpanContext, TraceFlags

from worker.core.model.record import Assignment, Record
from worker.core.wire.trace_context import trace_context
from worker.edges.telemetry.trace_export import LINKS_MAX

# Records of a batch whose headers are read: each takes 2 µs of the event loop.
RECORDS_READ_MAX = 10_000


class FromRecord(Protocol):
    """What a record has become: a row or a rejection."""

    @property
    def assignment(self) -> Assignment:
        """Where the record was received."""

    @property
    def record(self) -> Record:
        """The record itself."""


def links_of(entries: Iterable[FromRecord]) -> tuple[list[Link], int]:
    """Return links to the first `LINKS_MAX` sampled records, and how many records are sampled.

    Of the first `RECORDS_READ_MAX` records.
    """
    links: list[Link] = []
    sampled = 0
    for entry in islice(entries, RECORDS_READ_MAX):
        record = entry.record
        context = trace_context(record) if record.headers else None
        if context is None or not context.is_sampled:
            continue
        sampled += 1
        if len(links) < LINKS_MAX:
            assignment = entry.assignment
            links.append(
                Link(
                    SpanContext(
                        int(context.trace_id, 16),
                        int(context.span_id, 16),
                        is_remote=True,
                        trace_flags=TraceFlags(TraceFlags.SAMPLED),
                    ),
                    {
                        "messaging.destination.name": assignment.topic,
                        "messaging.destination.partition.id": str(assignment.partition),
                        "messaging.kafka.offset": record.offset,
                    },
                )
            )
    return links, sampled


def common_topic(entries: Iterable[FromRecord]) -> list[str]:
    """Return the topic of the entries, if they have one topic."""
    topics = {entry.assignment.topic for entry in entries}
    return list(topics) if len(topics) == 1 else []
