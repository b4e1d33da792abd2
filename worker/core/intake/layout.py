"""Where in a record's value each column's value is found.

Under the column's own name, under another name, deeper, or nowhere (a constant).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from worker.core.intake.event_time import expected_time, time_check
from worker.core.intake.fields import CHECKS, Check
from worker.core.intake.paths import PATH_START, Path, parse_path, spelled
from worker.core.intake.rules import IntakeRules
from worker.core.post_api.column import RAW_KINDS, Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS


@dataclass(slots=True)
class Node:
    """A part of the value that is read: as a whole, in its own parts, or both.

    Attributes:
        index: the index of the whole in the list of values; None if only parts of it are read.
        parts: the parts by their names, or by their indexes if the value is an array.
    """

    index: int | None = None
    parts: dict[str | int, Node] = field(default_factory=dict)

    @property
    def is_array(self) -> bool:
        """True if the parts are elements of an array."""
        return any(isinstance(step, int) for step in self.parts)

    def names(self) -> tuple[str, ...]:
        """The names of the parts of an object."""
        return tuple(step for step in self.parts if isinstance(step, str))


@dataclass(frozen=True, slots=True)
class ColumnPlace:
    """A column, the path of its value (None for a constant), and the rule of its value.

    Attributes:
        column: the column.
        path: the path of its value.
        shown: the column under the name that the record uses: faults name it.
        check: the rule.
        is_raw: the rule takes the value's JSON as `msgspec.Raw`.
        expected: the text after "expected" in the fault of an absent value.
    """

    column: Column
    path: Path | None
    shown: Column
    check: Check
    is_raw: bool
    expected: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all values of a route: made once, used for each record.

    `root` leads to the paths of all places; to `keys`, which follow them in `paths` where they are
    the paths of no column; and, last, to the names of `constants`, which a record may repeat.
    """

    places: tuple[ColumnPlace, ...]
    constants: tuple[Column, ...]
    keys: tuple[Path, ...]
    paths: tuple[Path | None, ...]
    root: Node

    @classmethod
    def of(cls, rules: IntakeRules) -> Layout:
        """The layout of these rules, its places in `column_order`."""
        places = tuple(_place(column, rules) for column in column_order(rules))
        keys = tuple(map(key_path, rules.key_fields))
        paths = [place.path for place in places]
        paths += [key for key in dict.fromkeys(keys) if key not in paths]
        read = _tree(paths).parts
        constants = tuple(
            place.column for place in places if place.path is None and place.column.name not in read
        )
        paths += [(column.name,) for column in constants]
        return cls(places, constants, keys, tuple(paths), _tree(paths))


def column_order(rules: IntakeRules) -> tuple[Column, ...]:
    """The columns in the order of the values of the fast pass: the identity pair first."""
    return (*IDENTITY_COLUMNS.values(), *rules.resource.columns)


def key_path(key_field: str) -> Path:
    """The path of a field of the producer's own event id: a path, or the name of a field.

    Raises:
        ValueError: it starts as a path does, and isn't a path to one value.
    """
    is_path = key_field.startswith((f"{PATH_START}.", f"{PATH_START}["))
    return parse_path(key_field) if is_path else (key_field,)


def _place(column: Column, rules: IntakeRules) -> ColumnPlace:
    path = None
    if column.name not in rules.constants:
        path = rules.fields.get(column.name, (column.name,))
    is_renamed = path is not None and path != (column.name,)
    shown = replace(column, name=spelled(path or ())) if is_renamed else column
    if column.kind is Kind.TIMESTAMP and rules.time is not None:
        return ColumnPlace(
            column, path, shown, time_check(rules.time), True, expected_time(rules.time)
        )
    check, is_raw = CHECKS[column.kind], column.kind in RAW_KINDS
    return ColumnPlace(column, path, shown, check, is_raw, column.kind.value)


def _tree(paths: Iterable[Path | None]) -> Node:
    root = Node()
    for index, path in enumerate(paths):
        if path is None:
            continue
        node = root
        for step in path:
            node = node.parts.setdefault(step, Node())
        node.index = index
    return root
