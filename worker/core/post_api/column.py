"""What a column of the Post API is: its kind, whether it must be there, its bounds, and what people
should know of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a column holds, and so how it is checked.

    The value is what a message says was expected.
    """

    STRING = "a string"
    INTEGER = "an integer"
    DECIMAL = "a decimal number"
    TIMESTAMP = "Unix time in seconds"
    JSON_OBJECT = "a JSON object"
    ATTRIBUTES = "a JSON object of strings, numbers and booleans"
    ARRAY = "an array of strings"
    SESSION_TYPE = "foreground or background"
    IPV6 = "an IPv6 address"


# Their text counts and not a parsed value: an object is passed on byte for byte, and a decimal
# never becomes a float.
RAW_KINDS = frozenset({Kind.JSON_OBJECT, Kind.ATTRIBUTES, Kind.DECIMAL, Kind.ARRAY})

# A decimal's text, exponent written out. Far above any sum of money; without a bound 1e999999999
# would fill the memory.
DECIMAL_CHARACTERS_MAX = 100

# The API's form of an array has no quoting, so what separates and ends its elements can't be part
# of one.
ARRAY_SEPARATORS = ',[]"'


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter of a resource.

    `minimum` and `maximum` bound an integer, both inclusive. `known` are the values that the
    documentation lists where AppMetrica may add others: another one is delivered and counted.
    `default` is what the API assumes for an absent value. `example` is JSON.
    """

    name: str
    kind: Kind
    description: str
    example: str
    required: bool = False
    minimum: int = 0
    maximum: int = 2**64 - 1
    known: tuple[str, ...] = ()
    default: str | None = None


def strings(*rows: tuple[str, str, str]) -> tuple[Column, ...]:
    """Optional columns of text: name, description and example of each."""
    return tuple(
        Column(name, Kind.STRING, description, example) for name, description, example in rows
    )
