"""What the worker refuses and JSON Schema can't express: each rule with its reason codes.

A schema checks one parsed JSON value, without a clock and without the settings. So it may accept
what the worker refuses because of one of these rules; what a schema refuses, the worker always
refuses too.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.intake.event_time import MILLISECONDS_FROM
from worker.core.model.fault import Reason
from worker.core.post_api.column import (
    DECIMAL_CHARACTERS_MAX,
    DECIMAL_FRACTION_DIGITS_MAX,
    DECIMAL_WHOLE_DIGITS_MAX,
    Kind,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that a schema can't express.

    Examples refer to it by `name`. It applies to columns of these `kinds`; empty: to the whole
    record.
    """

    name: str
    reasons: frozenset[Reason]
    text: str
    kinds: frozenset[Kind] = frozenset()


RULES = (
    Rule(
        "age",
        frozenset({Reason.TOO_OLD, Reason.IN_FUTURE}),
        "It must lie between 14 days ago and a day ahead (limits.event_age_seconds_max, "
        "limits.event_ahead_seconds_max); "
        f"the schema only refuses {MILLISECONDS_FROM} and more, which are milliseconds. A route "
        "may read it in another field and unit (time).",
        frozenset({Kind.TIMESTAMP}),
    ),
    Rule(
        "whole number",
        frozenset({Reason.WRONG_TYPE}),
        "A number in place of a string is written with digits only: 10.0 could mean two texts. To "
        "JSON Schema 10.0 and 1e3 are integers as well.",
        frozenset({Kind.STRING}),
    ),
    Rule(
        "float id",
        frozenset({Reason.OUT_OF_RANGE}),
        "A number above 2^53 is written with digits only: a float such as 1.8e19 has lost digits "
        "of the id.",
        frozenset({Kind.DEVICE_ID}),
    ),
    Rule(
        "long decimal",
        frozenset({Reason.OUT_OF_RANGE}),
        f"With its exponent written out it may have at most {DECIMAL_WHOLE_DIGITS_MAX} digits "
        f"before the point, and {DECIMAL_CHARACTERS_MAX} characters in all. More than "
        f"{DECIMAL_FRACTION_DIGITS_MAX} digits after the point are delivered and counted.",
        frozenset({Kind.DECIMAL}),
    ),
    Rule(
        "object in text",
        frozenset({Reason.WRONG_TYPE}),
        "A string in place of an object must hold a JSON object; the schema only checks its "
        "braces.",
        frozenset({Kind.JSON_OBJECT, Kind.ATTRIBUTES}),
    ),
    Rule(
        "application",
        frozenset({Reason.UNKNOWN_APPLICATION}),
        "application_id must be an application with a configured key (appmetrica.applications).",
    ),
    Rule(
        "half a character",
        frozenset({Reason.WRONG_TYPE, Reason.NOT_JSON}),
        "Half of a surrogate pair, as the escape d800 is, is not a Unicode character and is not "
        "allowed in a string.",
    ),
    Rule(
        "depth",
        frozenset({Reason.NOT_JSON}),
        "A value may not be nested about a thousand levels deep.",
    ),
    Rule(
        "size",
        frozenset({Reason.TOO_LARGE}),
        "The row alone must fit into a request (batching.body_bytes_max).",
    ),
    Rule(
        "not JSON",
        frozenset({Reason.EMPTY_VALUE, Reason.NOT_JSON}),
        "A record that is not JSON text in UTF-8 can't be checked by a schema.",
    ),
)


def comment(kind: Kind | None) -> str:
    """The text of the rules for this kind of column, or (None) for the whole record."""
    return " ".join(
        rule.text for rule in RULES if (kind in rule.kinds if kind is not None else not rule.kinds)
    )
