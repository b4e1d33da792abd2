"""The wording of faults: what was expected, what was found, and which name was probably meant.

What comes from a record is shortened and made safe to print.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from worker.core.intake.paths import Path, spelled
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

FOUND_CHARACTERS_MAX = 40
# ascii() of a longer text would spend its time on characters that are not shown.
_READ_CHARACTERS_MAX = 4 * FOUND_CHARACTERS_MAX
# A record may have as many fields as its bytes allow; a dead letter's header may not. The number of
# other faults is bounded by the number of columns.
UNKNOWN_SHOWN_MAX = 50
# "evnt_name" and "event_name" have a similarity of 0.90, "devcie" and "device" 0.70, "user_id" and
# "profile_id" 0.45.
SIMILARITY_MIN = 0.6
# No column has a name of this length, and the comparison costs in proportion to the length.
NAME_CHARACTERS_MAX = 64


def found(value: object) -> str:
    """A value as it may appear in a message: shortened, and safe to print on one line."""
    text = ascii(value[:_READ_CHARACTERS_MAX] if isinstance(value, str) else value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[: FOUND_CHARACTERS_MAX - 3] + "..."


def shown_name(name: str) -> str:
    """A producer's name, shortened and safe, without quotes."""
    return found(name)[1:-1]


def wrong_type(column: Column, value: object) -> FieldFault:
    """The value isn't of the column's kind at all."""
    return fault(Reason.WRONG_TYPE, column, column.kind.value, value)


def out_of_range(column: Column, expected: str, value: object) -> FieldFault:
    """The value is of the right kind but isn't accepted."""
    return fault(Reason.OUT_OF_RANGE, column, expected, value)


def fault(reason: Reason, column: Column, expected: str, value: object) -> FieldFault:
    """A fault that names the expected and the found value."""
    shown = found(value)
    return FieldFault(reason, column.name, f"expected {expected}, found {shown}", expected, shown)


def unknown_field(
    name: str | int, known: Iterable[str], of_what: str, path: Path = ()
) -> FieldFault:
    """An unknown field or element, with the most similar name that is known at the same place."""
    near = nearest(name, known) if isinstance(name, str) else ""
    expected = spelled((*path, near)) if near else ""
    hint = f"; did you mean {expected}?" if near else ""
    return FieldFault(
        Reason.UNKNOWN_FIELD,
        shown_name(spelled((*path, name))),
        f"not a parameter of {of_what}{hint}",
        expected,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The most similar of the known names; empty if none is similar enough.

    difflib takes 0.7 ms for this among the columns of a resource: a chunk of records that are all
    wrong would stop the event loop, and heartbeats with it, for seconds. Letters and pairs of
    letters in common (Dice's coefficient) take 10 µs and find the same typos.
    """
    if not 1 < len(name) <= NAME_CHARACTERS_MAX:
        return ""
    parts = _parts(name.lower())
    best, best_similarity = "", SIMILARITY_MIN
    for candidate in known:
        its_parts = _parts_of_known(candidate)
        similarity = 2 * len(parts & its_parts) / (len(parts) + len(its_parts))
        if similarity >= best_similarity:
            best, best_similarity = candidate, similarity
    return best


def _parts(text: str) -> frozenset[str]:
    return frozenset((*text, *map("".join, pairwise(text))))


# The names of the tables and of a route's own paths: some hundreds.
_parts_of_known = lru_cache(maxsize=1024)(_parts)
