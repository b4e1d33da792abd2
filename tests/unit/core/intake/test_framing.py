"""What surrounds the JSON of a value, and what a value is that is no JSON at all."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.builders import CONFLUENT, OUTBOX_ENVELOPE, connect_field, make_value
from tests.unit.core.intake.reading import faults_of, row_of
from worker.core.intake.rules import EnvelopeNames, Form, Framing
from worker.core.model.fault import Reason

TEXT = make_value().decode()
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def test_confluents_header_is_skipped() -> None:
    row = row_of(CONFLUENT + make_value(), framing=Framing.CONFLUENT)
    assert row.line == row_of(make_value()).line
    assert row.record.value == CONFLUENT + make_value()


@pytest.mark.parametrize("value", [make_value(), b"\0\0\0", b"\1" + CONFLUENT + make_value()])
def test_a_value_without_confluents_header_is_a_fault_that_says_so(value: bytes) -> None:
    (fault,) = faults_of(value, framing=Framing.CONFLUENT)
    assert fault.reason is Reason.NOT_JSON
    assert fault.message == (
        "expected Confluent's framing (a magic byte 0 and the schema's id), found a value that "
        f"begins with {value[:8].hex(' ')}"
    )


def test_faults_behind_the_header_are_those_of_the_event() -> None:
    (fault,) = faults_of(CONFLUENT + make_value(event_name=...), framing=Framing.CONFLUENT)
    assert (fault.reason, fault.field) == (Reason.MISSING, "event_name")


def test_a_byte_order_mark_is_skipped() -> None:
    line = row_of(make_value()).line
    assert row_of(BYTE_ORDER_MARK + make_value()).line == line
    framed = CONFLUENT + BYTE_ORDER_MARK + make_value()
    assert row_of(framed, framing=Framing.CONFLUENT).line == line


# Messages of Debezium's outbox event router, by the converter and the options of its documentation;
# the schema is that of Connect's JsonConverter with schemas.enable, its default.
OUTBOX: dict[str, Any] = {
    "JsonConverter": {
        "schema": {
            "type": "string",
            "optional": True,
            "name": "io.debezium.data.Json",
            "version": 1,
        },
        "payload": TEXT,
    },
    "JsonConverter without schemas": TEXT,
    "JsonConverter and table.expand.json.payload": {
        "schema": {
            "type": "struct",
            "fields": [
                connect_field("application_id", "int32"),
                connect_field("profile_id", "string"),
                connect_field("event_name", "string"),
                connect_field("event_timestamp", "int32"),
            ],
            "optional": True,
            "name": "event",
        },
        "payload": json.loads(TEXT),
    },
    "StringConverter": json.loads(TEXT),
}


@pytest.mark.parametrize("value", OUTBOX.values(), ids=OUTBOX)
def test_a_message_of_debeziums_outbox_is_the_event_of_its_table(value: Any) -> None:
    row = row_of(json.dumps(value).encode(), framing=Framing.CONNECT)
    assert row.line == row_of(make_value()).line


def test_an_envelope_of_debeziums_outbox_names_the_resource_of_its_event() -> None:
    rules: dict[str, Any] = {
        "framing": Framing.CONNECT,
        "form": Form.ENVELOPE,
        "envelope": EnvelopeNames("eventType", "payload", {"OrderCreated": "events"}),
    }
    row = row_of(json.dumps(OUTBOX_ENVELOPE).encode(), **rules)
    assert row.line == row_of(make_value()).line


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"schema": None, "payload": json.loads(TEXT)}, id="an object"),
        pytest.param({"schema": {"type": "string"}, "payload": TEXT}, id="JSON text: an outbox"),
        pytest.param(TEXT, id="JSON text without a schema"),
        pytest.param(json.loads(TEXT), id="the payload itself"),
    ],
)
def test_the_payload_of_connects_converter_is_the_value(value: Any) -> None:
    assert (
        row_of(json.dumps(value).encode(), framing=Framing.CONNECT).line
        == row_of(make_value()).line
    )


def test_the_payload_may_be_an_envelope_of_json_text() -> None:
    payload = {"type": "events", "data": TEXT}
    value = json.dumps({"schema": None, "payload": payload}).encode()
    row = row_of(value, framing=Framing.CONNECT, form=Form.ENVELOPE)
    assert row.line == row_of(make_value()).line


@pytest.mark.parametrize("payload", [b"null", b'""', b"5", b"[]"])
def test_a_payload_that_is_no_object_is_a_fault(payload: bytes) -> None:
    (fault,) = faults_of(b'{"schema": null, "payload": %s}' % payload, framing=Framing.CONNECT)
    assert fault.reason in (Reason.NOT_AN_OBJECT, Reason.EMPTY_VALUE, Reason.NOT_JSON)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(
            CONFLUENT + make_value(),
            "found Confluent's framing with schema id 263: set framing: confluent for the route",
            id="Confluent's JSON",
        ),
        pytest.param(
            CONFLUENT + b"\x02\x06abc",
            "found a magic byte 0 and no JSON behind it, as Avro or Protobuf with a schema "
            "registry: send JSON",
            id="Avro",
        ),
        pytest.param(
            gzip.compress(make_value()),
            "found gzip data; let the producer's client compress (compression.type), not its code",
            id="gzip",
        ),
        pytest.param(
            TEXT.encode("utf-16"), "found UTF-16 text; send UTF-8", id="UTF-16 with its mark"
        ),
        pytest.param(TEXT.encode("utf-16-le"), "found UTF-16 text; send UTF-8", id="UTF-16 LE"),
        pytest.param(TEXT.encode("utf-16-be"), "found UTF-16 text; send UTF-8", id="UTF-16 BE"),
        pytest.param(
            make_value() + make_value(),
            "found more behind the JSON object: send one object per record",
            id="two objects",
        ),
        pytest.param(
            make_value() + b"\n" + make_value(),
            "found more behind the JSON object: send one object per record",
            id="two lines",
        ),
        pytest.param(
            TEXT.replace('"purchase"', "NaN").encode(),
            "found NaN, which is no number in JSON: leave the field out",
            id="NaN",
        ),
        pytest.param(
            TEXT.replace('"purchase"', "-Infinity").encode(),
            "found -Infinity, which is no number in JSON: leave the field out",
            id="-Infinity",
        ),
        *(
            pytest.param(
                TEXT.replace('"purchase"', f'"{text}"').encode(),
                f"found {half}, which is half a character: cut texts between characters, not "
                "within a surrogate pair",
                id=f"half a character: {text}",
            )
            for text, half in (
                (r"\ud83d", r"\ud83d"),
                (r"cut \uD83D...", r"\uD83D"),
                (r"\udc00 is the second half", r"\udc00"),
                (r"\ud83d\u0041", r"\ud83d"),
                (r"\ud83d\ude00, \\ud83d, \ud83e", r"\ud83e"),
            )
        ),
        pytest.param(
            TEXT.replace('"purchase"', r'"\ud83d\ude00 \\ud83d"')[:-1].encode(),
            "Input data was truncated",
            id="a whole pair and an escaped backslash",
        ),
        pytest.param(
            make_value() + b"}",
            "found more behind the JSON object: send one object per record",
            id="a bracket too many",
        ),
        pytest.param(
            b"\0", "JSON is malformed: invalid character (byte 0)", id="a byte that says nothing"
        ),
    ],
)
def test_a_value_that_is_no_json_is_named(value: bytes, found: str) -> None:
    (fault,) = faults_of(value)
    assert (fault.reason, fault.message) == (Reason.NOT_JSON, f"expected one JSON object: {found}")
