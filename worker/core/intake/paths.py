"""Where in a record's value each column's value is found.

Under the column's own name, under another name, deeper, or nowhere (a constant).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from worker.core.intake.rules import IntakeRules, Path
from worker.core.post_api.column import Column
from worker.core.post_api.resource import IDENTITY_COLUMNS

PATH_START = "$."

# A name → the index of its value in the list of values, or the tree of names within the value.
Tree = Mapping[str, "int | Tree"]


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

    `tree` holds the paths of all places, and behind them `key` where it is none of these.
    """

    places: tuple[ColumnPlace, ...]
    key: Path | None
    paths: tuple[Path | None, ...]
    tree: Tree

    @classmethod
    def of(cls, rules: IntakeRules) -> Layout:
        """The layout of these rules, its places in `column_order`."""
        places = tuple(_place(column, rules) for column in column_order(rules))
        key = _key_path(rules)
        paths = [place.path for place in places]
        if key is not None and key not in paths:
            paths.append(key)
        return cls(places, key, tuple(paths), _tree(paths))


def parse_path(text: str) -> Path:
    """The names of a dotted path such as `$.user.id`.

    Raises:
        ValueError: it isn't a path; the message says what it must be.
    """
    names = tuple(text.removeprefix(PATH_START).split("."))
    if not text.startswith(PATH_START) or not all(names):
        raise ValueError("must be a dotted path, as in $.name or $.user.id")
    return names


def clash(paths: Iterable[Path]) -> tuple[Path, Path] | None:
    """Two paths that can't both be read, because one contains the other; None if there are none."""
    known: list[Path] = []
    for path in paths:
        for other in known:
            shorter = min(len(path), len(other))
            if path[:shorter] == other[:shorter]:
                return other, path
        known.append(path)
    return None


def column_order(rules: IntakeRules) -> tuple[Column, ...]:
    """The columns in the order of the values of the fast pass: the identity pair first."""
    return (*IDENTITY_COLUMNS.values(), *rules.resource.columns)


def _place(column: Column, rules: IntakeRules) -> ColumnPlace:
    if column.name in rules.constants:
        return ColumnPlace(column, None, column)
    path = rules.fields.get(column.name, (column.name,))
    is_renamed = path != (column.name,)
    return ColumnPlace(column, path, replace(column, name=".".join(path)) if is_renamed else column)


def _key_path(rules: IntakeRules) -> Path | None:
    """The path of the producer's own event id; None if it isn't in the value."""
    key = rules.key_field
    if key is None:
        return None
    return parse_path(key) if key.startswith(PATH_START) else (key,)


def _tree(paths: Iterable[Path | None]) -> Tree:
    """The paths as nested names, each leaf with its path's index."""
    root: dict[str, int | Tree] = {}
    for index, path in enumerate(paths):
        if path is None:
            continue
        branch = root
        for name in path[:-1]:
            branch = branch.setdefault(name, {})  # type: ignore[assignment]
        branch[path[-1]] = index
    return root
