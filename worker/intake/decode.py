"""The fast pass: a record's value becomes typed values in one go, or nothing.

msgspec decodes straight into a struct made from the resource's table: 0.9 µs for an event of 300 B, against 2.9 µs through a
dictionary. It stops at the first thing it doesn't like and says nothing useful about it; `explain` then finds all faults.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from worker.intake.rules import IntakeRules, UnknownFields
from worker.model.resource import IDENTITY_COLUMNS, Column, Kind

# `int | str`: JavaScript can't write an integer above 2^53, so its producers send digits in a string.
_TYPES: dict[Kind, object] = {
    Kind.STRING: str | None,
    Kind.INTEGER: int | str | None,
    Kind.TIMESTAMP: int | str | None,
    Kind.JSON_OBJECT: msgspec.Raw,
    Kind.SESSION_TYPE: str | None,
    Kind.IPV6: str | None,
}

# What msgspec raises for bytes that are not what the struct says: not JSON, a wrong type, not UTF-8, nested too deep.
DECODE_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def column_order(rules: IntakeRules) -> tuple[Column, ...]:
    """The columns in the order in which the fast pass gives their values: the identity pair first."""
    return (*IDENTITY_COLUMNS.values(), *rules.resource.columns)


def value_decoder(rules: IntakeRules) -> Callable[[bytes], msgspec.Struct]:
    """A decoder of one route's values.

    The struct has a field per column, in `column_order`, and behind them `key_field` where that is no column. An absent field
    is None, and so is a JSON null, but for a JSON object column: that stays raw.

    Returns:
        A callable that raises one of `DECODE_FAILURES`.
    """
    columns = column_order(rules)
    fields: list[tuple[str, object, object]] = [(column.name, _TYPES[column.kind], None) for column in columns]
    if rules.key_field is not None and rules.key_field not in {column.name for column in columns}:
        fields.append((rules.key_field, int | str | None, None))
    names = {f"field_{index}": name for index, (name, _, _) in enumerate(fields)}
    # Field names are generic and renamed for JSON, so that a producer's key_field needs not be a Python name.
    struct = msgspec.defstruct(
        "Value",
        [(generic, kind, None) for generic, (_, kind, _) in zip(names, fields, strict=True)],
        rename=names,
        forbid_unknown_fields=rules.unknown_fields is UnknownFields.REJECT,
        gc=False,
    )
    return msgspec.json.Decoder(struct).decode
