"""Where in a record's value each column's value is found: under its own name, under another one,
deeper, or nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from worker.core.intake.rules import IntakeRules, Path
from worker.core.post_api.column import Column
from worker.core.post_api.resource import IDENTITY_COLUMNS

PATH_START = "$."


@dataclass(frozen=True, slots=True)
class Place:
    """A column and the path of its value; None for a constant.

    `shown` is the column under the name by which the record spells it: faults speak of that.
    """

    column: Column
    path: Path | None
    shown: Column


def parse_path(text: str) -> Path:
    """The names of a dotted path such as `$.user.id`.

    Raises:
        ValueError: it isn't one; the message says what it must be.
    """
    names = tuple(text.removeprefix(PATH_START).split("."))
    if not text.startswith(PATH_START) or not all(names):
        raise ValueError("must be a dotted path, as in $.name or $.user.id")
    return names


def column_order(rules: IntakeRules) -> tuple[Column, ...]:
    """The columns in the order in which the fast pass gives their values: the identity
    pair first.
    """
    return (*IDENTITY_COLUMNS.values(), *rules.resource.columns)


def places(rules: IntakeRules) -> tuple[Place, ...]:
    """The places of all columns, in `column_order`."""
    return tuple(_place(column, rules) for column in column_order(rules))


def key_path(rules: IntakeRules) -> Path | None:
    """Where the producer's own event id is found; None if it isn't in the value."""
    if rules.key_field is None:
        return None
    return (
        parse_path(rules.key_field)
        if rules.key_field.startswith(PATH_START)
        else (rules.key_field,)
    )


def clash(paths: Iterable[Path]) -> tuple[Path, Path] | None:
    """Two paths that can't both be read: they are the same, or one leads through the other. None if
    there are none.
    """
    known: list[Path] = []
    for path in paths:
        for other in known:
            shorter = min(len(path), len(other))
            if path[:shorter] == other[:shorter]:
                return other, path
        known.append(path)
    return None


# A name → where its value goes in the list of values, or the tree of names within it.
Tree = Mapping[str, "int | Tree"]


def tree(paths: Iterable[Path | None]) -> Tree:
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


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything in a route's values is: made once, used for each record.

    `tree` holds the paths of all places, and behind them `key` where it is none of these.
    """

    places: tuple[Place, ...]
    key: Path | None
    paths: tuple[Path | None, ...]
    tree: Tree

    @classmethod
    def of(cls, rules: IntakeRules) -> Layout:
        found, key = places(rules), key_path(rules)
        paths = [place.path for place in found]
        if key is not None and key not in paths:
            paths.append(key)
        return cls(found, key, tuple(paths), tree(paths))


def _place(column: Column, rules: IntakeRules) -> Place:
    if column.name in rules.constants:
        return Place(column, None, column)
    path = rules.fields.get(column.name, (column.name,))
    return Place(
        column, path, column if path == (column.name,) else replace(column, name=".".join(path))
    )
