"""The fast pass over the events of one resource, as one straight-line function: from JSON to a row.

Generated from the resource's table, as dataclasses are: a loop over the table would ask of every
value again what the table has answered already, and takes twice as long. `source` makes the text,
with a comment for each column; a traceback shows its lines. What the function doesn't accept goes
to the thorough pass, which is its reference: tests and the fuzzer compare both.

Of 59,000 instructions for an event of 580 B with 23 columns, msgspec's decoder takes 13,000 and the
digest 7,000. Compiled, the same takes 35,000: `pass_choice` says which form runs.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from types import CodeType
from typing import Any, Protocol

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake import dedup_key
from worker.core.intake.decode import DECODE_FAILURES, Decode, Flatten
from worker.core.intake.dedup_key import UnusableKey
from worker.core.intake.faults import shown_name
from worker.core.intake.fields import Check
from worker.core.intake.forms import Unwrapped
from worker.core.intake.layout import ColumnPlace, Layout
from worker.core.intake.line import QUOTED, LineFormat, comma_quoted, special_quoted, texts_of
from worker.core.intake.rules import ColumnChoice, IntakeRules, TimeWindow
from worker.core.model.batch import RequestForm
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.record import Assignment, Record
from worker.core.model.row import RECORD_OVERHEAD_BYTES, Destination, KeySource, Row
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity


@dataclass(frozen=True, slots=True)
class ChunkReading:
    """What all records of a chunk have in common.

    `drift` counts what differs from the contract.
    """

    assignment: Assignment
    window: TimeWindow
    now: Now
    drift: ContractDrift


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """All faults of a record; never empty."""

    faults: tuple[FieldFault, ...]


class FastPass(Protocol):
    """The row of an event, or the fault of its line; None if anything is wrong or unusual.

    Args:
        reading: what all records of the chunk have in common.
        record: the record.
        value: the event's JSON in it.
        unwrapped: what the wrapping of the event gives, if it is wrapped.
        decode: another decoder than the strict decoder.
    """

    def __call__(
        self,
        reading: ChunkReading,
        record: Record,
        value: bytes | msgspec.Raw,
        unwrapped: Unwrapped | None = None,
        decode: Decode = ...,
    ) -> Row | InvalidEvent | None:
        """Read an event."""


# A row without its key: destination, line, and the event's time in Unix seconds, None without one.
KeylessRow = tuple[Destination, bytes, int | None]
# The producer's key of an event, or why there is none; None where the route reads no key from it.
ProducerKey = str | UnusableKey | None

# Codes of countries and networks, and quantities: their texts are looked up, not made.
_SMALL_INTEGERS = range(1000)
PAIR = len(IDENTITY_COLUMNS)
# The text of an application's id, and the destinations of its rows by profile and by device.
ApplicationRows = tuple[str, Destination, Destination]
RefuseLine = Callable[[bytes], InvalidEvent]
FinishRow = Callable[
    [ChunkReading, Record, KeylessRow, ProducerKey, Unwrapped | None], Row | InvalidEvent
]


@dataclass(frozen=True, slots=True)
class RowEnds:
    """What a fast pass calls for the end of a row.

    Attributes:
        producer_key: the producer's key in the event's values; None where the route reads no key
            from these.
        refuse: the rejection of a line that is too large.
        finish: adds the key to the row of an event that has, or needs, another key than that of
            its content.
    """

    producer_key: Callable[[Sequence[Any]], str | UnusableKey] | None
    refuse: RefuseLine
    finish: FinishRow


def fast_pass(
    rules: IntakeRules, layout: Layout, decoder: tuple[Decode, Flatten], ends: RowEnds
) -> FastPass:
    """The fast pass of these rules, with the strict decoder of `value_decoder`."""
    decode, flatten = decoder
    names: dict[str, Any] = {
        "strict": decode,
        "flatten": flatten,
        "DECODE_FAILURES": DECODE_FAILURES,
        "applications": applications(rules),
        "producer_key": ends.producer_key,
        "finish": ends.finish,
        "refuse": ends.refuse,
        "row_bytes_max": rules.row_bytes_max,
        "texts_of": texts_of,
        "comma_quoted": comma_quoted,
        "special_quoted": special_quoted,
        "write": LineFormat(rules).write,
        "shown_name": shown_name,
        "profile_digest": dedup_key.line_digest(rules.resource.name, Identity.PROFILE_ID),
        "device_digest": dedup_key.line_digest(rules.resource.name, Identity.DEVICE_ID),
        "Row": Row,
        "CONTENT": KeySource.CONTENT,
        "RECORD_OVERHEAD_BYTES": RECORD_OVERHEAD_BYTES,
    }
    text = source(rules, layout, ends, names)
    exec(_code(text, rules.resource.name), names)
    made: FastPass = names["fast_pass"]
    return made


@lru_cache(maxsize=64)
def _code(text: str, resource: str) -> CodeType:
    # The routes of one resource may differ: each text has a name of its own.
    name = f"<fast pass of {resource}, {blake2b(text.encode(), digest_size=4).hexdigest()}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return compile(text, name, "exec")


def applications(rules: IntakeRules) -> dict[int | str, ApplicationRows]:
    """What an application's id means: its text, and where rows of profiles and of devices go.

    By its number and its text: one lookup finds out that the id is well-formed and has a key. Other
    spellings ("01111") are left to the thorough pass.
    """
    resource = rules.resource.name
    return {
        spelling: (
            str(application_id),
            Destination(resource, application_id, Identity.PROFILE_ID),
            Destination(resource, application_id, Identity.DEVICE_ID),
        )
        for application_id in rules.applications
        for spelling in (application_id, str(application_id))
    }


def source(rules: IntakeRules, layout: Layout, ends: RowEnds, names: dict[str, Any]) -> str:
    """The text of the function; what it names is added to `names`."""
    values = "".join(f"v{index}, " for index in range(len(layout.paths)))
    # Of the values as the record has them, before the checks make cells of them.
    key = "producer_key(values)" if ends.producer_key is not None else "None"
    body = [
        "try:",
        "    values = flatten(decode(value))",
        "except DECODE_FAILURES:",
        "    return None",
        f"key = {key}",
        f"({values}) = values",
        "window, drift = reading.window, reading.drift",
        *_values(rules, layout, names),
        *_drift(rules, layout, names),
        *(_csv_line(layout) if is_plain_csv(rules) else _other_line(layout)),
        "if len(line) > row_bytes_max:",
        "    return refuse(line)",
        *_row(rules, ends),
    ]
    head = "def fast_pass(reading, record, value, unwrapped=None, decode=strict):\n"
    return head + "".join(f"    {line}\n" for line in body)


# --- values ---------------------------------------------------------------------------------------


def _values(rules: IntakeRules, layout: Layout, names: dict[str, Any]) -> Iterator[str]:
    yield "seconds = None"
    for index, place in enumerate(layout.places[PAIR:], PAIR):
        column = place.column
        yield f"# {column.name}: {column.kind.value}"
        if column.name == "application_id":
            yield f"application = applications.get(v{index})"
            yield "if application is None:"
            yield "    return None"
            yield f"v{index} = application[0]"
            continue
        if place.path is not None:
            yield from _value(index, place, names)
        if column.required:
            yield f"if not v{index}:"
            yield "    return None"
        if column.kind is Kind.TIMESTAMP:
            yield "if seconds is None:"
            yield f"    seconds = int(v{index})"
    yield from _identity(layout.places[1], names)
    yield from _constants(rules, layout, names)


def _value(index: int, place: ColumnPlace, names: dict[str, Any]) -> Iterator[str]:
    """The lines that make a cell's text of a value, by the kind of its column."""
    checked = _checked(index, place.shown, place.check, names)
    match place.column.kind:
        case Kind.STRING | Kind.SESSION_TYPE:
            # Checked by the decoder; integers and nulls are found when the line is joined.
            return
        case Kind.INTEGER:
            names[f"texts{index}"] = _texts_of_small_integers(place.column)
            yield "try:"
            yield f"    v{index} = texts{index}[v{index}]"
            yield "except KeyError:"
            yield from _indented(checked)
        case Kind.TIMESTAMP:
            yield f"if unwrapped is not None and (v{index} == '' or v{index} is None):"
            yield f"    v{index} = unwrapped.timestamp"
            yield f"if type(v{index}) is int and window.earliest <= v{index} <= window.latest:"
            yield f"    seconds = v{index}"
            yield f"    v{index} = str(v{index})"
            yield f"elif v{index} != '' and v{index} is not None:"
            yield from _indented(checked)
        case Kind.JSON_OBJECT:
            yield f"if v{index}:"
            yield "    try:"
            yield f"        text = str(v{index}, 'utf-8')"
            yield "    except UnicodeDecodeError:"
            yield "        return None"
            yield "    if text[0] == '{':"
            yield f"        v{index} = text"
            yield "    else:"
            yield from _indented(_indented(checked))
        case _:
            yield f"if v{index}:"
            yield from _indented(checked)


def _checked(index: int, column: Column, check: Check, names: dict[str, Any]) -> list[str]:
    names[f"check{index}"], names[f"column{index}"] = check, column
    return [
        f"v{index} = check{index}(column{index}, v{index}, window)",
        f"if type(v{index}) is not str:",
        "    return None",
    ]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _texts_of_small_integers(column: Column) -> dict[int | str | None, str]:
    return {
        "": "",
        None: "",
        **{
            number: str(number)
            for number in _SMALL_INTEGERS
            if column.minimum <= number <= column.maximum
        },
    }


def _identity(device_id: ColumnPlace, names: dict[str, Any]) -> list[str]:
    return [
        "# profile_id (v0) or appmetrica_device_id (v1)",
        "if v1 == '' or v1 is None:",
        "    if not v0:",
        "        return None",
        "    identity, destination, digest = v0, application[1], profile_digest",
        # A profile may be called 0, which is as false as no profile.
        "elif v0 != '' and v0 is not None:",
        "    return None",
        "else:",
        *_indented(_checked(1, device_id.shown, device_id.check, names)),
        "    identity, destination, digest = v1, application[2], device_digest",
    ]


def _constants(rules: IntakeRules, layout: Layout, names: dict[str, Any]) -> Iterator[str]:
    for index, column in repeated_constants(layout):
        yield f"# {column.name}, a constant"
        yield f"if v{index} != '' and v{index} is not None:"
        check = check_of_constant(column, rules.constants[column.name])
        yield from _indented(_checked(index, column, check, names))


def repeated_constants(layout: Layout) -> Iterator[tuple[int, Column]]:
    """The constants that a record may repeat with the same value, and the indexes of the values."""
    yield from enumerate(layout.constants, len(layout.paths) - len(layout.constants))


def check_of_constant(column: Column, text: str) -> Check:
    """A check that accepts the spellings of a constant that the fast pass knows."""
    same = frozenset({text, int(text)} if column.kind is Kind.INTEGER else {text})
    other = FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected {text}", text)

    def check(_column: Column, value: object, _window: TimeWindow) -> str | FieldFault:
        return text if isinstance(value, int | str) and value in same else other

    return check


# --- differences from the contract ----------------------------------------------------------------


def _drift(rules: IntakeRules, layout: Layout, names: dict[str, Any]) -> Iterator[str]:
    """The lines that count what is unusual, but no reason to reject the event."""
    line_format, cells = LineFormat(rules), _cells(layout)
    event_name = "''"
    if line_format.name is not None:
        event_name = f"shown_name(str({cells[line_format.name][0]}))"
    for index, column, usual in line_format.known:
        cell = cells[index][0]
        names[f"known_{cell}"] = usual | {None}
        yield f"if {cell} not in known_{cell}:"
        yield f"    drift.unusual_values[{column!r}] += 1"
    for index, column, exceeds, change in line_format.limited:
        cell = cells[index][0]
        names[f"exceeds_{cell}"] = exceeds
        yield f"if {cell} and exceeds_{cell}({cell}):"
        yield f"    drift.drift({event_name}, {column!r}, {change!r})"


# --- line and row ---------------------------------------------------------------------------------


def is_plain_csv(rules: IntakeRules) -> bool:
    """True if a line is CSV of all columns."""
    return rules.request is RequestForm.BODY and rules.columns is ColumnChoice.ALL


def _cells(layout: Layout) -> list[tuple[str, Kind]]:
    """The variables of the cells in the order of the line: the identity is the second."""
    cells = [
        (f"v{index}", place.column.kind) for index, place in enumerate(layout.places[PAIR:], PAIR)
    ]
    return [cells[0], ("identity", Kind.STRING), *cells[1:]]


def _csv_line(layout: Layout) -> Iterator[str]:
    """The lines that write CSV: cells of JSON are always quoted, the others where they must be.

    All others are searched at once, because most lines need no quotes; 40 % of the lines that do
    have a comma only (`iPhone14,5`).
    """
    groups: list[list[str]] = [[]]
    pieces: list[str] = []
    for variable, kind in _cells(layout):
        if kind in QUOTED:
            pieces += [f"cells{len(groups) - 1}"] * bool(groups[-1]) + [variable]
            groups += [[]] * bool(groups[-1])
            groups[-1] = []
        else:
            groups[-1].append(variable)
    if groups[-1]:
        pieces.append(f"cells{len(groups) - 1}")
    else:
        groups.pop()
    numbers = range(len(groups))
    commas = sum(len(group) - 1 for group in groups)
    joined = [f"text{number} = ','.join(cells{number})" for number in numbers]
    for number, group in enumerate(groups):
        yield f"cells{number} = ({', '.join(group)},)"
    yield "try:"
    yield from _indented(joined)
    yield "except TypeError:"
    for number in numbers:
        yield f"    cells{number} = texts_of(cells{number})"
    yield from _indented(joined)
    yield f"plain = {' + '.join(f'text{number}' for number in numbers)}"
    yield """if '"' in plain or '\\n' in plain or '\\r' in plain:"""
    for number in numbers:
        yield f"    text{number} = special_quoted(cells{number})"
    yield f"elif plain.count(',') != {commas}:"
    for number in numbers:
        yield f"    text{number} = comma_quoted(cells{number})"
    for piece in pieces:
        if piece.startswith("v"):
            yield f"if {piece}:"
            yield f"""    {piece} = '"' + {piece}.replace('"', '""') + '"'"""
    texts = ",".join(f"{{{piece.replace('cells', 'text')}}}" for piece in pieces)
    yield f"line = f'{texts}\\n'.encode()"


def _other_line(layout: Layout) -> Iterator[str]:
    yield f"cells = [{', '.join(variable for variable, _ in _cells(layout))}]"
    yield "try:"
    yield "    ''.join(cells)"
    yield "except TypeError:"
    yield "    cells = texts_of(cells)"
    yield "destination, line = write(destination, cells)"


def has_content_keys(rules: IntakeRules, ends: RowEnds) -> bool:
    """True if a row has the key of its content, unless its record's headers say otherwise."""
    is_keyless = ends.producer_key is None and rules.without_key is None
    return is_keyless and rules.has_content_key(rules.resource)


def _row(rules: IntakeRules, ends: RowEnds) -> Iterator[str]:
    finish = "return finish(reading, record, (destination, line, seconds), key, unwrapped)"
    if not has_content_keys(rules, ends) or rules.columns is ColumnChoice.EXACT:
        yield finish
        return
    yield "if unwrapped is not None or record.headers:"
    yield f"    {finish}"
    yield "digest = digest()"
    yield "digest.update(line)"
    yield "size_bytes = RECORD_OVERHEAD_BYTES + len(value) + len(line)"
    yield "key = record.key"
    yield "if key:"
    yield "    size_bytes += len(key)"
    yield "return Row("
    yield "    reading.assignment, record, destination, line, digest.digest(), seconds,"
    yield "    size_bytes, False, CONTENT,"
    yield ")"
