"""Paths into a record's value: `$.user.id`, `$.events[0].params`, `$['a.b']`.

The part of JSONPath that leads to exactly one value: names and array indexes. A wildcard, a filter,
a slice or a descent would lead to several, so they are faults and not names.

Source: RFC 9535, sections 2.3.1 (names) and 2.3.3 (indexes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

# The steps from the record's value to a part of it: a name in an object, or an index in an array.
Path = tuple[str | int, ...]

PATH_START = "$"
# The decoder of an array has a field for each element up to the index.
INDEX_MAX = 99
# A name after a dot. Names with other characters are written in brackets and quotes.
_NAME = re.compile(r"[^\s.\[\]'\"*?()]+")
_INDEX = re.compile(r"\[(0|[1-9][0-9]*)\]")
_QUOTED = re.compile(r"\[(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\]")
_ESCAPE = re.compile(r"\\(.)")
_EXPECTED = "must be a path, as in $.name, $.user.id, $.events[0].params or $['a.b']"


def parse_path(text: str) -> Path:
    """The steps of a path.

    Raises:
        ValueError: it isn't a path to one value; the message says what it must be.
    """
    if not text.startswith(PATH_START):
        raise ValueError(_EXPECTED)
    steps: list[str | int] = []
    position = len(PATH_START)
    while position < len(text):
        step, position = _step(text, position)
        steps.append(step)
    if not steps or not isinstance(steps[0], str):
        raise ValueError(f"{_EXPECTED}: it must start with a name, because a record is an object")
    return tuple(steps)


def spelled(path: Path) -> str:
    """A path as messages and settings write it, without the leading `$.`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _NAME.fullmatch(step):
            text += f".{step}" if text else step
        else:
            escaped = step.replace("\\", "\\\\").replace("'", "\\'")
            text += f"['{escaped}']"
    return text


def clash(paths: Iterable[tuple[Path, bool]]) -> tuple[Path, Path] | None:
    """The first two paths that can't both be read; None if there are none.

    Args:
        paths: each with whether its value is an object that other paths may lead into.
    """
    for (first, first_is_object), (second, second_is_object) in combinations(paths, 2):
        shared = _shared_steps(first, second)
        if shared == len(second) < len(first) and second_is_object:
            continue
        if shared == len(first) < len(second) and first_is_object:
            continue
        if shared in (len(first), len(second)):
            return first, second
        # A value can't be both an object and an array.
        if isinstance(first[shared], int) is not isinstance(second[shared], int):
            return first, second
    return None


def _shared_steps(first: Path, second: Path) -> int:
    shared = 0
    for left, right in zip(first, second, strict=False):
        if left != right or isinstance(left, int) is not isinstance(right, int):
            break
        shared += 1
    return shared


def _step(text: str, position: int) -> tuple[str | int, int]:
    """The step at this position, and the position after it."""
    if text[position] == ".":
        match = _NAME.match(text, position + 1)
        if match is not None:
            return match[0], match.end()
    elif text[position] == "[":
        match = _INDEX.match(text, position)
        if match is not None:
            return _index(match[1]), match.end()
        match = _QUOTED.match(text, position)
        if match is not None:
            return _ESCAPE.sub(r"\1", match[1] if match[1] is not None else match[2]), match.end()
    raise ValueError(_fault(text[position:]))


def _index(digits: str) -> int:
    if len(digits) > len(str(INDEX_MAX)) or int(digits) > INDEX_MAX:
        raise ValueError(f"has an index of {digits}; an index may be at most {INDEX_MAX}")
    return int(digits)


def _fault(rest: str) -> str:
    """The message for a text that isn't a step, by how it starts."""
    if rest.startswith(".."):
        return f"{_EXPECTED}: '..' leads to many values or to a name that is empty"
    if rest.startswith((".*", "[*")) or "*" in rest.split(".", 2)[-1].split("[")[0]:
        return f"{_EXPECTED}: a wildcard leads to many values; put a name with * in quotes, ['a*']"
    if rest.startswith(("[?", ".?", "[(", ".(")):
        return f"{_EXPECTED}: a filter or an expression is not supported"
    if re.match(r"\[-[0-9]", rest):
        return f"{_EXPECTED}: an index counts from the start of the array, from 0"
    if re.match(r"\[[^\]'\"]*[:,]", rest):
        return f"{_EXPECTED}: a slice or a list of indexes leads to many values"
    return f"{_EXPECTED}: the part {rest[:40]!r} is not a step"
