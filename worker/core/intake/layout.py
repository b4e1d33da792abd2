"""Where in a record's value each column's value is found.

Under the column's own name, under another name, deeper, or nowhere (a constant).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from worker.core.intake.paths import PATH_START, Path, parse_path, spelled
from worker.core.intake.rules import IntakeRules
from worker.core.post_api.column import Column
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
    """A column and the path of its value; None for a constant.

    `shown` is the column under the name that the record uses: faults name it.
    """

    column: Column
    path: Path | None
    shown: Column


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
    if column.name in rules.constants:
        return ColumnPlace(column, None, column)
    path: Path = rules.fields.get(column.name, (column.name,))
    is_renamed = path != (column.name,)
    return ColumnPlace(column, path, replace(column, name=spelled(path)) if is_renamed else column)


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
