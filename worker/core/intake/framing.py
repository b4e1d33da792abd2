"""Framing: bytes that surround the JSON of a record's value, and values that are no JSON at all.

A byte order mark, Confluent's framing, and the wrapper of Kafka Connect's JSON converter are known.

Sources: Confluent's wire format (a magic byte 0, then the schema's id in four bytes, then, for JSON
Schema, the JSON); Kafka Connect's JsonConverter, which writes `{"schema": …, "payload": …}` with
`schemas.enable`, and which writes a text column, as Debezium's outbox has it, as a JSON string that
holds JSON.
"""

from __future__ import annotations

import re

import msgspec

from worker.core.intake.rules import Framing
from worker.core.model.fault import FieldFault, Reason

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAGIC = b"\x00"
# The magic byte and the schema's id.
HEADER_BYTES = 5
_OBJECT = "one JSON object"
_BYTE = re.compile(r"\(byte (\d+)\)")
# Escapes in their order, so that an escaped backslash begins none; the group is half a pair.
_ESCAPES = re.compile(
    rb"\\[^u]|\\u[Dd][89ABab]..\\u[Dd][C-Fc-f]..|(\\u[Dd][89A-Fa-f][0-9A-Fa-f]{2})(?=.)|\\u",
    re.DOTALL,
)
_STARTS = {
    b"\x1f\x8b": "gzip data; let the producer's client compress (compression.type), not its code",
    b"\x28\xb5\x2f\xfd": "zstd data; let the producer's client compress (compression.type)",
    b"\x04\x22\x4d\x18": "lz4 data; let the producer's client compress (compression.type)",
    b"\xff\xfe": "UTF-16 text; send UTF-8",
    b"\xfe\xff": "UTF-16 text; send UTF-8",
}
# Not numbers of JSON, though Python and JavaScript write them.
_NO_NUMBERS = (b"NaN", b"-Infinity", b"Infinity")


class _Converted(msgspec.Struct):
    """What Connect's JSON converter writes."""

    schema: msgspec.Raw
    payload: msgspec.Raw


_decode_converted = msgspec.json.Decoder(_Converted).decode
_decode_text = msgspec.json.Decoder(str).decode


def unframe(value: bytes, framing: Framing) -> bytes | msgspec.Raw | FieldFault:
    """The JSON in a value; what isn't JSON is left as it is, for the reader to refuse."""
    if framing is Framing.CONFLUENT:
        if not value.startswith(MAGIC) or len(value) < HEADER_BYTES:
            message = "expected Confluent's framing (a magic byte 0 and the schema's id)"
            return FieldFault(
                Reason.NOT_JSON, "", f"{message}, found {_start(value)}", "Confluent's framing"
            )
        value = value[HEADER_BYTES:]
    if value.startswith(BYTE_ORDER_MARK):
        value = value[len(BYTE_ORDER_MARK) :]
    return _payload(value) if framing is Framing.CONNECT else value


def text_inside(raw: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
    """The JSON in a JSON string; anything else as it is."""
    if bytes(memoryview(raw)[:1]) != b'"':
        return raw
    try:
        return _decode_text(raw).encode()
    except (msgspec.DecodeError, UnicodeError):
        return raw


def _payload(value: bytes) -> bytes | msgspec.Raw:
    try:
        # Without schemas the payload is the value.
        return text_inside(_decode_converted(value).payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text_inside(value)


def found_instead(value: bytes, error: str) -> str:
    """What a value is that is no JSON object, as far as its bytes show it.

    Args:
        value: not empty.
        error: the decoder's message, which names the byte where it stopped.
    """
    for start, what in _STARTS.items():
        if value.startswith(start):
            return f"found {what}"
    if value.startswith(MAGIC):
        if len(value) > 1 and value[1:2] in b"{[":
            return "found UTF-16 text; send UTF-8"
        if len(value) > HEADER_BYTES and value[HEADER_BYTES : HEADER_BYTES + 1] in b"{[":
            schema = int.from_bytes(value[1:HEADER_BYTES], "big")
            return (
                f"found Confluent's framing with schema id {schema}: "
                "set framing: confluent for the route"
            )
        if len(value) > HEADER_BYTES:
            return (
                "found a magic byte 0 and no JSON behind it, as Avro or Protobuf with a schema "
                "registry: send JSON"
            )
    if value[1:2] == MAGIC and value[:1] in b"{[":
        return "found UTF-16 text; send UTF-8"
    match = _BYTE.search(error)
    at = int(match[1]) if match is not None else 0
    for number in _NO_NUMBERS:
        # The decoder stops at the number or within it.
        if number in value[max(0, at - len(number)) : at + len(number)]:
            return f"found {number.decode()}, which is no number in JSON: leave the field out"
    half = next((match[1] for match in _ESCAPES.finditer(value) if match[1]), None)
    if half is not None:
        return (
            f"found {half.decode()}, which is half a character: cut texts between characters, not "
            "within a surrogate pair"
        )
    if "trailing" in error:
        return "found more behind the JSON object: send one object per record"
    return error


def _start(value: bytes) -> str:
    return "an empty value" if not value else f"a value that begins with {value[:8].hex(' ')}"
