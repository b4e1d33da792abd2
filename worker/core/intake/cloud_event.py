"""The event in a CloudEvent, in the binary or the structured mode of the Kafka binding.

An id is unique per source, so both together identify the event. The CloudEvent's time is used where
the event has no time of its own.

Source: CloudEvents 1.0.2, and its Kafka Protocol Binding.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from worker.core.intake.event_time import rfc_3339_seconds
from worker.core.intake.faults import found
from worker.core.intake.forms import Unwrapped, header_texts, text_of
from worker.core.intake.json_object import read_object
from worker.core.model.fault import FieldFault, Reason

PREFIX = "ce_"
STRUCTURED = "application/cloudevents"
BATCHED = "application/cloudevents-batch"
VERSION = "1.0"
_REQUIRED = ("specversion", "id", "source", "type")
_JSON = "a content type of JSON"


@dataclass(frozen=True, slots=True)
class _Attributes:
    """The attributes in either mode.

    `texts` are None where an attribute is absent. `prefix` is what the record writes before names.
    """

    texts: Mapping[str, str | None]
    prefix: str


def open_cloud_event(
    record_headers: Sequence[tuple[str, bytes | None]], value: bytes | msgspec.Raw | None
) -> Unwrapped:
    """The event in a CloudEvent.

    A record without any attribute in its headers is read in the structured mode.
    """
    headers = header_texts(record_headers)
    content_type = headers.get("content-type", b"").decode("latin-1").strip().lower()
    if content_type.startswith(BATCHED):
        message = "expected one CloudEvent per record; batches of CloudEvents are not accepted"
        return Unwrapped(
            None, (FieldFault(Reason.NOT_AN_OBJECT, "content-type", message, "one CloudEvent"),)
        )
    if content_type.startswith(STRUCTURED) or not any(name.startswith(PREFIX) for name in headers):
        return _structured(value)
    return _binary(value, headers, content_type)


def _binary(
    value: bytes | msgspec.Raw | None, headers: Mapping[str, bytes], content_type: str
) -> Unwrapped:
    faults: list[FieldFault] = []
    texts: dict[str, str | None] = {}
    for name in (*_REQUIRED, "time"):
        given = headers.get(PREFIX + name)
        try:
            texts[name] = None if given is None else given.decode()
        except UnicodeDecodeError:
            faults.append(
                _fault(Reason.WRONG_TYPE, PREFIX + name, "UTF-8 text", given.hex() if given else "")
            )
    faults += [
        _missing(PREFIX + name)
        for name in _REQUIRED
        if texts.get(name) is None and not _names(faults, PREFIX + name)
    ]
    faults += _content_type(content_type, "content-type")
    # Empty, and not None: the missing value is reported as a fault of the event.
    return _unwrapped(value or b"", _Attributes(texts, PREFIX), faults)


def _structured(value: bytes | msgspec.Raw | None) -> Unwrapped:
    fields = read_object(value, (*_REQUIRED, "time", "datacontenttype", "data", "data_base64"))
    if isinstance(fields, FieldFault):
        return Unwrapped(None, (fields,))
    faults: list[FieldFault] = []
    texts: dict[str, str | None] = {
        name: text_of(fields.get(name), name, faults) for name in _REQUIRED
    }
    for name in ("time", "datacontenttype"):
        texts[name] = text_of(fields[name], name, faults) if _is_given(fields.get(name)) else None
    faults += _content_type((texts["datacontenttype"] or "").lower(), "datacontenttype")
    return _unwrapped(_data(fields, faults), _Attributes(texts, ""), faults)


def _data(
    fields: Mapping[str, msgspec.Raw], faults: list[FieldFault]
) -> bytes | msgspec.Raw | None:
    if _is_given(fields.get("data")):
        return fields["data"]
    if _is_given(fields.get("data_base64")):
        text = text_of(fields["data_base64"], "data_base64", faults)
        try:
            return base64.b64decode(text, validate=True) if text is not None else None
        except (binascii.Error, ValueError):
            faults.append(_fault(Reason.WRONG_TYPE, "data_base64", "base64", text or ""))
            return None
    faults.append(
        FieldFault(Reason.MISSING, "data", "required, the event as a JSON object", "a JSON object")
    )
    return None


def _unwrapped(
    data: bytes | msgspec.Raw | None, attributes: _Attributes, faults: list[FieldFault]
) -> Unwrapped:
    texts, prefix = attributes.texts, attributes.prefix
    version, time = texts.get("specversion"), texts.get("time")
    if version is not None and version != VERSION:
        faults.append(_fault(Reason.OUT_OF_RANGE, f"{prefix}specversion", VERSION, version))
    timestamp = None
    if time is not None:
        timestamp = rfc_3339_seconds(time)
        if timestamp is None:
            faults.append(_fault(Reason.WRONG_TYPE, f"{prefix}time", "a time as in RFC 3339", time))
    identifier = f"{texts.get('source')}\0{texts.get('id')}".encode(errors="surrogatepass")
    return Unwrapped(data, tuple(faults), identifier=identifier, timestamp=timestamp)


def _content_type(content_type: str, name: str) -> list[FieldFault]:
    media = content_type.partition(";")[0].strip()
    if not media or media.endswith(("/json", "+json")):
        return []
    return [_fault(Reason.NOT_JSON, name, _JSON, media)]


def _is_given(raw: msgspec.Raw | None) -> bool:
    return raw is not None and bytes(raw) != b"null"


def _missing(name: str) -> FieldFault:
    return FieldFault(Reason.MISSING, name, "required, a string", "a string")


def _names(faults: list[FieldFault], name: str) -> bool:
    return any(fault.field == name for fault in faults)


def _fault(reason: Reason, field: str, expected: str, value: str) -> FieldFault:
    shown = found(value)
    return FieldFault(reason, field, f"expected {expected}, found {shown}", expected, shown)
