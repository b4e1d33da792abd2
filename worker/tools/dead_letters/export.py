"""A letter as a line: our own JSON, or the form of `kcat -J`.

Bytes that are not UTF-8 stand as base64, under the name with `_base64` behind it: nothing is lost
on the way out. Source: kcat's README, "JSON output"; its `format.c`.
"""

from __future__ import annotations

from base64 import b64encode

import orjson

from worker.core.model.record import Place, Record
from worker.core.wire.record_headers import own
from worker.tools.dead_letters.explanations import explanation
from worker.tools.dead_letters.record import StoredRecord


def text(name: str, value: bytes | None) -> dict[str, object]:
    """The field for these bytes."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}


def place(at: Place | None) -> dict[str, object] | None:
    """A place as JSON has it."""
    return (
        None if at is None else {"topic": at.topic, "partition": at.partition, "offset": at.offset}
    )


def jsonl(letter: StoredRecord) -> dict[str, object]:
    """All that is known of a letter; key, value and headers are the producer's."""
    return {
        **(place(letter.place) or {}),
        "timestamp": letter.record.timestamp,
        "reason": letter.reason,
        "faults": [
            {"reason": one.reason, "field": one.field, "message": one.message}
            for one in letter.faults
        ],
        "origin": place(letter.origin),
        "application_id": letter.application_id,
        "http_status": letter.http_status,
        "replays": letter.replays,
        "worker_version": letter.worker_version,
        "is_shortened": letter.shortened is not None,
        **text("key", letter.record.key),
        **text("value", letter.record.value),
        "headers": [{"name": name, **text("value", value)} for name, value in own(letter.record)],
    }


def peeked(letter: StoredRecord, original: Record | None) -> dict[str, object]:
    """A letter with what its reason means, and of a shortened one the whole record where it is
    still there.
    """
    whole = (
        {}
        if original is None
        else {"original": {**text("key", original.key), **text("value", original.value)}}
    )
    return {**jsonl(letter), "explanation": explanation(letter.reason), **whole}


def kcat(letter: StoredRecord) -> dict[str, object]:
    """The record as it lies in its topic, as `kcat -J` prints it: headers are a flat list of names
    and values.
    """
    record = letter.record
    texts = [
        (name, None if value is None else value.decode(errors="replace"))
        for name, value in record.headers
    ]
    headers = [part for pair in texts for part in pair]
    return {
        **(place(letter.place) or {}),
        "tstype": "create",
        "ts": record.timestamp,
        "broker": -1,
        **({"headers": headers} if headers else {}),
        **text("key", record.key),
        **text("payload", record.value),
    }


def line(document: dict[str, object]) -> bytes:
    """One line of a file of them."""
    return orjson.dumps(document) + b"\n"
