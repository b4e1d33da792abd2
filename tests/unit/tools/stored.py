"""Stored records and settings for tests of the tools, built by the worker's own code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.builders import UNIX_SECONDS, FakeRecord, make_assignment, make_value
from worker.core.model.fault import FieldFault, Reason, Rejection
from worker.core.model.record import TopicPartition
from worker.core.wire.record_headers import REPLAYS
from worker.edges.kafka.stored_records import dead_letter_headers
from worker.settings.load import load
from worker.settings.schema import Settings
from worker.tools.dead_letters.record import StoredRecord, read

DLQ = TopicPartition("offline-events.dlq", 0)
KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"


def settings(**flags: str) -> Settings:
    """The default settings with application 1111; `__` in a flag is a dot."""
    return load(
        None,
        {KEY: "secret"},
        None,
        {name.replace("__", "."): value for name, value in flags.items()},
    ).settings


def make_rejection(
    offset: int = 7, value: bytes | None = None, reason: Reason = Reason.MISSING, replays: int = 0
) -> Rejection:
    """A record that was rejected for one reason, after this number of replays."""
    headers = [(REPLAYS, b"%d" % replays)] if replays else []
    record = FakeRecord(offset, make_value() if value is None else value, b"key", headers)
    return Rejection(
        make_assignment(3),
        record,
        (FieldFault(reason, "event_name", "required, a string"),),
        1,
        None,
    )


def make_stored(
    offset: int = 0,
    *,
    at: int = UNIX_SECONDS,
    rejection: Rejection | None = None,
    more: Sequence[tuple[str, bytes]] = (),
) -> StoredRecord:
    """The dead letter of a rejection, at this offset of its topic, written at this Unix time."""
    refused = rejection or make_rejection()
    headers = [*dead_letter_headers(refused, "1.2.3"), *more]
    return read(
        DLQ, FakeRecord(offset, refused.record.value, refused.record.key, headers, at * 1000)
    )


def write(directory: Path, name: str, content: bytes) -> Any:
    """A file with this content, open for reading."""
    file = directory / name
    file.write_bytes(content)
    return file.open("rb")
