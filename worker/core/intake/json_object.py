"""The fields of a JSON object, each as its own text, and those of them that the contract lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from worker.core.counters.counters import OTHER, UNKNOWN, ContractDrift
from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.faults import UNKNOWN_SHOWN_MAX, shown_name
from worker.core.intake.framing import found_instead
from worker.core.intake.layout import Node
from worker.core.intake.paths import Path, spelled
from worker.core.model.fault import FieldFault, Reason

# At most this part of a larger value may be names, white space and unknown fields: 9 MB can hold a
# million of them.
UNKNOWN_BYTES_MAX = 256 * 1024
# An unknown field or element: the path of its object or array, its name or index, and the names
# that are known in that object.
UnknownField = tuple[Path, str | int, Iterable[str]]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT = "one JSON object"
_NO_ELEMENT = msgspec.Raw()


def read_object(
    value: bytes | msgspec.Raw | None, known: tuple[str, ...]
) -> dict[str, msgspec.Raw] | FieldFault:
    """As `object_fields`; a fault for a large value that is mostly unknown fields."""
    return _mostly_unknown(value, known) or object_fields(value)


def object_fields(value: bytes | msgspec.Raw | None) -> dict[str, msgspec.Raw] | FieldFault:
    """The fields of a JSON object, each as its own text."""
    if not value:
        return FieldFault(
            Reason.EMPTY_VALUE, "", "the record has no value; send one JSON object", _OBJECT
        )
    try:
        return _fields.decode(value)
    except msgspec.ValidationError as error:
        return FieldFault(Reason.NOT_AN_OBJECT, "", f"expected {_OBJECT}: {error}", _OBJECT)
    except UnicodeDecodeError as error:
        return FieldFault(
            Reason.NOT_JSON, "", f"the value is not UTF-8 at byte {error.start} of a name", _OBJECT
        )
    except RecursionError:
        return FieldFault(Reason.NOT_JSON, "", "the value is nested too deeply", _OBJECT)
    except msgspec.DecodeError as error:
        found = found_instead(bytes(value), str(error))
        return FieldFault(Reason.NOT_JSON, "", f"expected {_OBJECT}: {found}", _OBJECT)


def value_at(value: bytes | msgspec.Raw, path: Path) -> msgspec.Raw | None:
    """The text of one part of a value; None where there is no such part.

    Raises:
        msgspec.ValidationError: the path leads through something that isn't an object or an array.
        DECODE_FAILURES: the value isn't JSON.
    """
    raw: bytes | msgspec.Raw = value
    for step in path:
        if isinstance(step, str):
            (part,) = msgspec.structs.astuple(_known_fields((step,)).decode(raw))
        else:
            part = msgspec.structs.astuple(_first_elements(step + 1).decode(raw))[step]
        if not memoryview(part).nbytes:
            return None
        raw = part
    return raw if isinstance(raw, msgspec.Raw) else None


def elements(raw: msgspec.Raw, count: int) -> list[msgspec.Raw] | None:
    """The first elements of an array, each as its own text, at most `count`; None if it isn't one.

    The others are skipped: a list of the two million elements of an array of 9 MB would take most
    of a second.
    """
    try:
        found = msgspec.structs.astuple(_first_elements(count).decode(raw))
    except DECODE_FAILURES:
        return None
    return [element for element in found if element is not _NO_ELEMENT]


def unknown_names(
    fields: Mapping[str, msgspec.Raw], node: Node, path: Path = ()
) -> Iterator[UnknownField]:
    """The fields and elements that a layout doesn't name, however deep."""
    for name, raw in fields.items():
        part = node.parts.get(name)
        if part is None:
            yield path, name, node.names()
        elif part.index is None:
            yield from _unknown_within(raw, part, (*path, name))


def _unknown_within(raw: msgspec.Raw, node: Node, path: Path) -> Iterator[UnknownField]:
    if not node.is_array:
        if bytes(raw)[:1] == b"{":
            fields = object_fields(raw)
            if not isinstance(fields, FieldFault):
                yield from unknown_names(fields, node, path)
        return
    # One more than the layout names: of many others the first is enough to refuse the record.
    count = max(step for step in node.parts if isinstance(step, int)) + 2
    for index, element in enumerate(elements(raw, count) or ()):
        part = node.parts.get(index)
        if part is None:
            if bytes(element) != b"null":
                yield path, index, ()
        elif part.index is None:
            yield from _unknown_within(element, part, (*path, index))


def note_unknown(unknown: Sequence[UnknownField], event_name: str, drift: ContractDrift) -> None:
    """Count an event's unknown fields by name; beyond `UNKNOWN_SHOWN_MAX`, all under one name."""
    for path, name, _ in unknown[:UNKNOWN_SHOWN_MAX]:
        drift.drift(event_name, shown_name(spelled((*path, name))), UNKNOWN)
    others = len(unknown) - UNKNOWN_SHOWN_MAX
    if others > 0:
        drift.drift(event_name, OTHER, UNKNOWN, others)


def _mostly_unknown(value: bytes | msgspec.Raw | None, known: tuple[str, ...]) -> FieldFault | None:
    """A fault if too much of a large value belongs to no known field, without reading that part."""
    size = memoryview(value).nbytes if value else 0
    if value is None or size <= UNKNOWN_BYTES_MAX:
        return None
    try:
        fields = _known_fields(known).decode(value)
    except DECODE_FAILURES:
        # `object_fields` reports what is wrong with it.
        return None
    unknown = size - sum([memoryview(raw).nbytes for raw in msgspec.structs.astuple(fields)])
    if unknown <= UNKNOWN_BYTES_MAX:
        return None
    return FieldFault(Reason.TOO_LARGE, "", f"{unknown} bytes of it belong to no parameter")


@lru_cache(maxsize=64)
def _known_fields(names: tuple[str, ...]) -> msgspec.json.Decoder[msgspec.Struct]:
    """A decoder of these fields, raw, that skips all others.

    For the skipped fields a dictionary would take 0.3 µs each.
    """
    generic = {f"field_{index}": name for index, name in enumerate(names)}
    fields = [(field, msgspec.Raw, msgspec.Raw()) for field in generic]
    return msgspec.json.Decoder(msgspec.defstruct("Known", fields, rename=generic, gc=False))


@lru_cache(maxsize=64)
def _first_elements(count: int) -> msgspec.json.Decoder[msgspec.Struct]:
    fields = [(f"field_{number}", msgspec.Raw, _NO_ELEMENT) for number in range(count)]
    return msgspec.json.Decoder(msgspec.defstruct("Elements", fields, array_like=True, gc=False))
