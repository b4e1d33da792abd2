"""The wording of faults: what was expected, what was found, and which name was probably meant.

What comes from a record is shortened and made safe to print.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

from worker.core.counters.counters import OTHER
from worker.core.intake.paths import Path, spelled
from worker.core.model.fault import FieldFault, Reason
from worker.core.post_api.column import Column

FOUND_CHARACTERS_MAX = 40
# A record may have as many fields as its bytes allow; a dead letter's header may not. The number of
# other faults is bounded by the number of columns.
UNKNOWN_SHOWN_MAX = 50
# "evnt_name" and "event_name" have a similarity of 0.90, "devcie" and "device" 0.70, "user_id" and
# "profile_id" 0.45.
SIMILARITY_MIN = 0.6
# No column has a name of this length, and the comparison costs in proportion to the length.
NAME_CHARACTERS_MAX = 64
# Distinguishes names that are cut: 1 of 16 million pairs has the same digest.
_DIGEST_BYTES = 3
# What producers write into records although it belongs elsewhere, with the reason.
_MISPLACED = {
    "post_api_key": "the key never travels in records; it is a setting of the worker",
}


def found(value: object) -> str:
    """A value as it may appear in a message: cut, and safe to print on one line.

    It is cut before it is escaped: an escape takes up to ten characters.
    """
    if isinstance(value, str):
        # Two characters are the quotes.
        if len(value) <= FOUND_CHARACTERS_MAX - 2:
            return ascii(value)
        return ascii(value[: FOUND_CHARACTERS_MAX - 4])[:-1] + "..."
    text = ascii(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else text[: FOUND_CHARACTERS_MAX - 3] + "..."


def shown_name(name: str) -> str:
    """A producer's name in a message or a label: cut, escaped, and different for each name.

    A name that is cut ends with a digest of the whole name. The name that stands for all others is
    escaped.
    """
    if name == OTHER:
        # An escape that no other name has: a backslash of a name is written twice.
        return f"\\x{ord(OTHER[0]):x}{OTHER[1:]}"
    if len(name) <= NAME_CHARACTERS_MAX:
        return _escaped(name)
    digest = blake2b(name.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{_escaped(name[: NAME_CHARACTERS_MAX - len(digest) - 3])}...{digest}"


def _escaped(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")


def wrong_type(column: Column, value: object) -> FieldFault:
    """The value isn't of the column's kind at all."""
    return fault(Reason.WRONG_TYPE, column, column.kind.value, value)


def wrong_number(column: Column, text: str, advice: str = "") -> FieldFault:
    """The value is a number, as the record writes it, that isn't of the column's kind."""
    shown, expected = found(text)[1:-1], column.kind.value
    message = f"expected {expected}, found {shown}{advice and '; '}{advice}"
    return FieldFault(Reason.WRONG_TYPE, column.name, message, expected, shown)


def out_of_range(column: Column, expected: str, value: object) -> FieldFault:
    """The value is of the right kind but isn't accepted."""
    return fault(Reason.OUT_OF_RANGE, column, expected, value)


def fault(reason: Reason, column: Column, expected: str, value: object) -> FieldFault:
    """A fault that names the expected and the found value."""
    shown = found(value)
    return FieldFault(reason, column.name, f"expected {expected}, found {shown}", expected, shown)


def advised(fault: FieldFault, advice: str) -> FieldFault:
    """The fault with advice at the end of its message; the same fault if the advice is empty."""
    return replace(fault, message=f"{fault.message}; {advice}") if advice else fault


def unknown_field(
    name: str | int, known: Iterable[str], of_what: str, path: Path = ()
) -> FieldFault:
    """An unknown field or element, with the most similar name that is known at the same place."""
    near = nearest(name, known) if isinstance(name, str) and name not in _MISPLACED else ""
    expected = spelled((*path, near)) if near else ""
    hint = f"; did you mean {expected}?" if near else ""
    if name in _MISPLACED:
        hint = f": {_MISPLACED[str(name)]}"
    return FieldFault(
        Reason.UNKNOWN_FIELD,
        shown_name(spelled((*path, name))),
        f"not a parameter of {of_what}{hint}",
        expected,
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The most similar of the known names; empty if none is similar enough.

    A name that several known names end with, as `name`, could be any of them: it has no hint. Nor
    has a name that only shares whole words with a known name, as `event_value` with `event_json`.

    difflib takes 0.7 ms for this among the columns of a resource: a chunk of records that are all
    wrong would stop the event loop, and heartbeats with it, for seconds. Letters and pairs of
    letters in common (Dice's coefficient) take 10 µs and find the same typos.
    """
    if not 1 < len(name) <= NAME_CHARACTERS_MAX:
        return ""
    lower = name.lower()
    parts, ending = _parts(lower), f"_{lower}"
    best, best_similarity, endings = "", SIMILARITY_MIN, 0
    for candidate in known:
        endings += candidate.endswith(ending)
        similarity = _similarity(parts, _parts_of_known(candidate))
        if similarity >= best_similarity and _differ_by_letters(lower, candidate):
            best, best_similarity = candidate, similarity
    return best if endings <= 1 or best == lower else ""


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    return 2 * len(one & other) / (len(one) + len(other))


def _differ_by_letters(name: str, candidate: str) -> bool:
    """False if two names differ in whole words, apart from words that only one of them has."""
    words, others = name.split("_"), candidate.split("_")
    while words and others and words[0] == others[0]:
        del words[0], others[0]
    while words and others and words[-1] == others[-1]:
        del words[-1], others[-1]
    one, other = "_".join(words), "_".join(others)
    return not (one and other) or _similarity(_parts(one), _parts(other)) >= SIMILARITY_MIN


def _parts(text: str) -> frozenset[str]:
    return frozenset((*text, *map("".join, pairwise(text))))


# The names of the tables and of a route's own paths: some hundreds.
_parts_of_known = lru_cache(maxsize=1024)(_parts)
