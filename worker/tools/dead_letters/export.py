"""Documents of stored records: JSON with an explanation, or the format of `kcat -J`.

Bytes that are not UTF-8 are written as base64, in a field whose name ends with `_base64`, so that
the document holds every byte. Source: kcat's README, "JSON output"; its `format.c`.
"""

from __future__ import annotations

from base64 import b64encode

import orjson

from worker.core.model.record import Place, Record
from worker.core.wire.record_headers import own
from worker.tools.dead_letters.record import FOREIGN, PARKED, StoredRecord

# What a reason means and who has to do what; docs/reasons.md says more.
EXPLANATIONS = {
    "empty_value": "The record has no value. The producer must send one JSON object.",
    "not_json": "The value is not JSON in UTF-8. Fix the encoding in the producer.",
    "not_an_object": (
        "The value is JSON, but not an object. The producer must send one event per record."
    ),
    "missing": "A required parameter is absent, null or empty. The producer must send it.",
    "wrong_type": (
        "A parameter has a value of another type than the API accepts. The producer "
        "must send the right type."
    ),
    "out_of_range": (
        "A parameter has a value that the API doesn't accept. The producer must send "
        "an accepted value."
    ),
    "unknown_field": (
        "The resource has no parameter of this name. Fix the name, or set "
        "unknown_fields: ignore for the route."
    ),
    "both_identities": (
        "The record has both profile_id and appmetrica_device_id. The producer "
        "must send exactly one of them."
    ),
    "milliseconds": "The time is in milliseconds. The producer must send Unix time in seconds.",
    "too_old": (
        "The event is older than the API accepts (14 days). It can't be delivered any "
        "more, even by a replay."
    ),
    "in_future": "The event's time is in the future. Check the producer's clock and time unit.",
    "too_large": (
        "The event's CSV line is larger than a request body may be (batching.body_bytes_max)."
    ),
    "unknown_application": (
        "No key is configured for the application. Configure its key and replay."
    ),
    "unknown_route": "No resource is configured for records of this kind. Configure it and replay.",
    "refused": "The API refused the row although it is well-formed. See the answer in the message.",
    "fails_alone": "A request with only this row failed again and again while other rows of its "
    "application were accepted. "
    "Check the row and what blocks it, such as a firewall. Then replay it; it may be delivered "
    "twice.",
    "too_large_for_api": "The API refused a request with only this row as too large.",
    PARKED: "The record's application was on hold. It is redelivered by itself when the hold ends.",
    FOREIGN: "The record was not written by this worker.",
}


def explanation(reason: str) -> str:
    """What this reason means, in a sentence or two. A newer worker may write unknown reasons."""
    return EXPLANATIONS.get(reason, "This reason is not known to this version.")


def text(name: str, value: bytes | None) -> dict[str, object]:
    """A field with these bytes."""
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}


def place(at: Place | None) -> dict[str, object] | None:
    """The address of a record as a JSON object."""
    return (
        None if at is None else {"topic": at.topic, "partition": at.partition, "offset": at.offset}
    )


def jsonl(stored: StoredRecord) -> dict[str, object]:
    """A stored record with the producer's own key, value and headers."""
    return {
        **(place(stored.place) or {}),
        "timestamp": stored.record.timestamp,
        "reason": stored.reason,
        "faults": [
            {"reason": one.reason, "field": one.field, "message": one.message}
            for one in stored.faults
        ],
        "origin": place(stored.origin),
        "application_id": stored.application_id,
        "http_status": stored.http_status,
        "replays": stored.replays,
        "worker_version": stored.worker_version,
        "is_shortened": stored.shortened is not None,
        **text("key", stored.record.key),
        **text("value", stored.record.value),
        "headers": [{"name": name, **text("value", value)} for name, value in own(stored.record)],
    }


def peeked(stored: StoredRecord, original: Record | None) -> dict[str, object]:
    """A stored record with an explanation, and with its source record if that is given."""
    whole = (
        {}
        if original is None
        else {"original": {**text("key", original.key), **text("value", original.value)}}
    )
    return {**jsonl(stored), "explanation": explanation(stored.reason), **whole}


def kcat(stored: StoredRecord) -> dict[str, object]:
    """The record unchanged, as `kcat -J` prints it: headers are a flat list of names and values."""
    record = stored.record
    texts = [
        (name, None if value is None else value.decode(errors="replace"))
        for name, value in record.headers
    ]
    headers = [part for pair in texts for part in pair]
    return {
        **(place(stored.place) or {}),
        "tstype": "create",
        "ts": record.timestamp,
        "broker": -1,
        **({"headers": headers} if headers else {}),
        **text("key", record.key),
        **text("payload", record.value),
    }


def line(document: dict[str, object]) -> bytes:
    """A document as a line of JSON."""
    return orjson.dumps(document) + b"\n"
