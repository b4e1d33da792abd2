"""Values of any origin, made such that JSON and UTF-8 can hold them: for log lines and for what the
admin port shows.

The fields of a log line come from libraries, brokers, servers and producers. What an encoder
refuses must not cost the line, and a redacted line must still be JSON: so secrets are masked in
each text before it is encoded, never in the encoded line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from itertools import islice

# A stack of a hundred frames takes some 15,000.
CHARACTERS_MAX = 64 * 1024
# More than a worker has partitions.
ITEMS_MAX = 10_000
DEPTH_MAX = 8
# What orjson writes.
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1


def plain(value: object, redact: Callable[[str], str] = str, depth: int = DEPTH_MAX) -> object:
    """As None, a boolean, a number, a text, a list or a dictionary of these.

    What is too long, or too deep, is cut.
    """
    match value:
        case None | bool():
            return value
        case int():
            # Not as text: `str` refuses integers of thousands of digits.
            return (
                int(value)
                if INTEGER_MIN <= value <= INTEGER_MAX
                else f"an integer of {value.bit_length()} bits"
            )
        case float():
            return float(value) if math.isfinite(value) else repr(float(value))
        case str():
            return text(value, redact)
        case Enum():
            return plain(value.value, redact, depth)
        case Mapping() if depth:
            items = islice(value.items(), ITEMS_MAX)
            return {
                text(str(name), redact): plain(inner, redact, depth - 1) for name, inner in items
            }
        case list() | tuple() | set() | frozenset() if depth:
            some: Iterable[object] = islice(value, ITEMS_MAX)
            return [plain(inner, redact, depth - 1) for inner in some]
        case _:
            return text(str(value), redact)


def text(value: str, redact: Callable[[str], str] = str) -> str:
    """Without secrets and without half characters; if it is too long, without its middle: of a
    stack both ends matter.
    """
    # Masked before it is cut: half a secret isn't recognised.
    whole = redact(value).encode(errors="backslashreplace").decode()
    if len(whole) <= CHARACTERS_MAX:
        return whole
    half = CHARACTERS_MAX // 2
    return f"{whole[:half]}… ({len(whole) - 2 * half} characters omitted) …{whole[-half:]}"


def printable(value: str) -> str:
    """For a terminal: no control character reaches it, and no line break makes two lines of one."""
    return (
        value
        if value.isprintable()
        else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in value)
    )
