"""The fields of a JSON object, each as its own text, and those of them that the contract lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from worker.core.counters.counters import OTHER, UNKNOWN, ContractDrift
from worker.core.intake.decode import DECODE_FAILURES
from worker.core.intake.faults import UNKNOWN_SHOWN_MAX, shown_name
from worker.core.intake.paths import Tree
from worker.core.intake.rules import Path
from worker.core.model.fault import FieldFault, Reason

# At most this part of a larger value may be names, white space and unknown fields: 9 MB can hold a
# million of them.
UNKNOWN_BYTES_MAX = 256 * 1024
# An unknown field: the path of its object, its name, and the names that are known in that object.
UnknownField = tuple[Path, str, Iterable[str]]

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OBJECT = "one JSON object"


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
        return FieldFault(Reason.NOT_JSON, "", f"expected {_OBJECT}: {error}", _OBJECT)


def unknown_names(
    fields: Mapping[str, msgspec.Raw], branch: Tree, path: Path = ()
) -> Iterator[UnknownField]:
    """The fields that a tree doesn't name, however deep."""
    for name, raw in fields.items():
        inner = branch.get(name)
        if inner is None:
            yield path, name, branch
        elif not isinstance(inner, int) and bytes(raw)[:1] == b"{":
            deeper = object_fields(raw)
            if not isinstance(deeper, FieldFault):
                yield from unknown_names(deeper, inner, (*path, name))


def note_unknown(unknown: Sequence[UnknownField], event_name: str, drift: ContractDrift) -> None:
    """Count an event's unknown fields by name; beyond `UNKNOWN_SHOWN_MAX`, all under one name."""
    for path, name, _ in unknown[:UNKNOWN_SHOWN_MAX]:
        drift.drift(event_name, shown_name(".".join((*path, name))), UNKNOWN)
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
