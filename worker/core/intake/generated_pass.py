"""The fast pass of a resource, generated in Python as one straight-line function.

It is generated from the resource's table, in the way of dataclasses. A loop over the table would
look up the same rules for every record, and takes twice as long. `source` makes the text, with a
comment for each column; a traceback shows its lines.

Of 59,000 instructions for an event of 580 B with 23 columns, msgspec's decoder takes 13,000 and the
digest 7,000. The compiled form takes 35,000 for the same.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from types import CodeType
from typing import Any

from worker.core.intake import dedup_key
from worker.core.intake.decode import DECODE_FAILURES, Decode, Flatten
from worker.core.intake.fast_pass import (
    PAIR,
    FastPass,
    RowEnds,
    applications,
    check_of_constant,
    has_content_keys,
    is_plain_csv,
    repeated_constants,
)
from worker.core.intake.faults import shown_name
from worker.core.intake.fields import Check
from worker.core.intake.generated_line import (
    cell_variables,
    csv_statements,
    indented,
    other_statements,
)
from worker.core.intake.layout import ColumnPlace, Layout
from worker.core.intake.line import LineFormat, comma_quoted, special_quoted, texts_of
from worker.core.intake.rules import ColumnChoice, IntakeRules
from worker.core.model.row import RECORD_OVERHEAD_BYTES, KeySource, Row
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import Identity

# Codes of countries and networks, and quantities: their texts are looked up, not made.
_SMALL_INTEGERS = range(1000)


def generate_fast_pass(
    rules: IntakeRules, layout: Layout, decoder: tuple[Decode, Flatten], ends: RowEnds
) -> FastPass:
    """Generate the fast pass of these rules, with the strict decoder of `value_decoder`."""
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
    generated: FastPass = names["fast_pass"]
    return generated


@lru_cache(maxsize=64)
def _code(text: str, resource: str) -> CodeType:
    # The routes of one resource may differ: each text has a name of its own.
    name = f"<fast pass of {resource}, {blake2b(text.encode(), digest_size=4).hexdigest()}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    return compile(text, name, "exec")


def source(rules: IntakeRules, layout: Layout, ends: RowEnds, names: dict[str, Any]) -> str:
    """Return the text of the function, and add what it refers to to `names`."""
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
        *(csv_statements(layout) if is_plain_csv(rules) else other_statements(layout)),
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
    """Yield statements that turn a value into the text of its cell, by the kind of its column."""
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
            yield from indented(checked)
        case Kind.TIMESTAMP:
            yield f"if unwrapped is not None and (v{index} == '' or v{index} is None):"
            yield f"    v{index} = unwrapped.timestamp"
            yield f"if type(v{index}) is int and window.earliest <= v{index} <= window.latest:"
            yield f"    seconds = v{index}"
            yield f"    v{index} = str(v{index})"
            yield f"elif v{index} != '' and v{index} is not None:"
            yield from indented(checked)
        case Kind.JSON_OBJECT:
            yield f"if v{index}:"
            yield "    try:"
            yield f"        text = str(v{index}, 'utf-8')"
            yield "    except UnicodeDecodeError:"
            yield "        return None"
            yield "    if text[0] == '{':"
            yield f"        v{index} = text"
            yield "    else:"
            yield from indented(indented(checked))
        case _:
            yield f"if v{index}:"
            yield from indented(checked)


def _checked(index: int, column: Column, check: Check, names: dict[str, Any]) -> list[str]:
    names[f"check{index}"], names[f"column{index}"] = check, column
    return [
        f"v{index} = check{index}(column{index}, v{index}, window)",
        f"if type(v{index}) is not str:",
        "    return None",
    ]


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
        *indented(_checked(1, device_id.shown, device_id.check, names)),
        "    identity, destination, digest = v1, application[2], device_digest",
    ]


def _constants(rules: IntakeRules, layout: Layout, names: dict[str, Any]) -> Iterator[str]:
    for index, column in repeated_constants(layout):
        yield f"# {column.name}, a constant"
        yield f"if v{index} != '' and v{index} is not None:"
        check = check_of_constant(column, rules.constants[column.name])
        yield from indented(_checked(index, column, check, names))


# --- differences from the contract ----------------------------------------------------------------


def _drift(rules: IntakeRules, layout: Layout, names: dict[str, Any]) -> Iterator[str]:
    """Yield statements that count what is unusual, but no reason to reject the event."""
    line_format, cells = LineFormat(rules), cell_variables(layout)
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


# --- row ---------------------------------------------------------------------------------


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
