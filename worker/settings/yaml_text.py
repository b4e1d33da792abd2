"""YAML 1.2 as values, with the line of each value.

No message shows a part of the text: it may contain secrets.

PyYAML reads YAML 1.1: `01111` is 585, `1:30` is 90, `no` is false, `2026-11-28` is a date. Here a
plain word is a number, a boolean or null only by the core schema of YAML 1.2; everything else is
text, unchanged. Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, TypeVar

import yaml
from yaml.constructor import ConstructorError

# The keys that lead to a value, from the outermost; list items by their index.
KeyPath = tuple[str, ...]
T = TypeVar("T")

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_TAG = "tag:yaml.org,2002:"
_MERGE_TAG = f"{_TAG}merge"
_INTEGER_TAG = f"{_TAG}int"
# Aliases make millions of values of a few lines, and each value is kept with its path.
VALUES_MAX = 100_000
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASES = {"0o": 8, "0x": 16}
# The kinds of plain words: name, pattern, and the characters that such a word begins with.
_PLAIN = (
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    # Merge keys are from YAML 1.1, but files use them.
    ("merge", r"<<", "<"),
)


class NotYamlError(ValueError):
    """The text isn't readable; the message says where and why."""


@dataclass(frozen=True, slots=True)
class YamlFault:
    """A value that is readable but must not be used.

    `line` counts from 1; the message shows no value.
    """

    path: KeyPath
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """The value, with text for keys; the line of each key, counted from 1; and the faults."""

    value: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[YamlFault] = field(default_factory=list)


def read(text: str) -> Document:
    """Read one document.

    Raises:
        NotYamlError: it isn't YAML, holds itself or a value that YAML's types don't allow, or has
            too many values.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = Document(None)
        if node is not None:
            # First: the construction of merge keys changes the nodes.
            _locate(node, (), document, count())
            document = Document(loader.construct_document(node), document.lines, document.faults)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise NotYamlError(
            where + _QUOTED.sub("…", error.problem or error.context or "not readable")
        ) from None
    except yaml.YAMLError:
        raise NotYamlError("it holds a character that YAML doesn't allow") from None
    except RecursionError:
        raise NotYamlError("it is nested too deeply, or contains itself") from None
    return document


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """The possible kinds of a plain word by its first character, as PyYAML needs them."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, form, firsts in _PLAIN:
        for first in firsts:
            found.setdefault(first, []).append((_TAG + kind, re.compile(rf"(?:{form})\Z")))
    return found


def _boolean(_: _Loader, node: yaml.ScalarNode) -> bool:
    return _scalar(node, lambda text: {"true": True, "false": False}[text.lower()])


def _integer(_: _Loader, node: yaml.ScalarNode) -> int:
    return _scalar(node, _whole)


def _whole(text: str) -> int:
    base = _BASES.get(text[:2])
    return int(text) if base is None else int(text[2:], base)


def _float(_: _Loader, node: yaml.ScalarNode) -> float:
    # `.inf`, `-.inf` and `.nan`: Python writes them without the dot.
    return _scalar(node, lambda text: float(text.replace(".", "") if text[-1:].isalpha() else text))


def _scalar(node: yaml.ScalarNode, convert: Callable[[str], T]) -> T:
    try:
        return convert(node.value)
    except (ValueError, KeyError):
        # An explicit tag before something else, or a number of more digits than Python reads.
        raise ConstructorError(
            None,
            None,
            "not a value of its type; if text is meant, put it in quotes",
            node.start_mark,
        ) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, with the types of YAML 1.2 and with text for keys."""

    yaml_implicit_resolvers = _resolvers()
    yaml_constructors: ClassVar[dict[str | None, Callable[..., Any]]] = {
        # A value with another tag is an error.
        None: yaml.SafeLoader.construct_undefined,
        **{
            _TAG + kind: yaml.SafeLoader.yaml_constructors[_TAG + kind]
            for kind in ("null", "str", "seq", "map")
        },
        _TAG + "bool": _boolean,
        _INTEGER_TAG: _integer,
        _TAG + "float": _float,
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:  # type: ignore[override]
        """A mapping with text for keys."""
        self.flatten_mapping(node)
        return {_name(name): self.construct_object(value, deep=deep) for name, value in node.value}


def _name(node: yaml.Node) -> str:
    """A key as text; a whole number in decimal digits, so that 0x457 and 1111 are one key."""
    if not isinstance(node, yaml.ScalarNode):
        raise ConstructorError(None, None, "a key must be text or a number", node.start_mark)
    return str(_scalar(node, _whole)) if node.tag == _INTEGER_TAG else str(node.value)


def _locate(node: yaml.Node, path: KeyPath, document: Document, visits: Iterator[int]) -> None:
    if next(visits) > VALUES_MAX:
        raise NotYamlError(f"it has more than {VALUES_MAX:,} values, with those of its aliases")
    if isinstance(node, yaml.ScalarNode):
        _find_leading_zero(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            document.lines[(*path, str(index))] = inner.start_mark.line + 1
            _locate(inner, (*path, str(index)), document, visits)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name_node, inner in node.value:
            if name_node.tag == _MERGE_TAG:
                _locate(inner, path, document, visits)
                continue
            name, line = _name(name_node), name_node.start_mark.line + 1
            if name in seen:
                document.faults.append(YamlFault((*path, name), line, "this key is repeated"))
            seen.add(name)
            document.lines[(*path, name)] = line
            _find_leading_zero(name_node, (*path, name), document)
            _locate(inner, (*path, name), document, visits)


def _find_leading_zero(node: yaml.ScalarNode, path: KeyPath, document: Document) -> None:
    if node.tag == _INTEGER_TAG and _LEADING_ZERO.fullmatch(node.value):
        message = (
            "a number with a leading zero is octal in YAML 1.1 and decimal in YAML 1.2: "
            "write it without the zero, or in quotes if text is meant"
        )
        document.faults.append(YamlFault(path, node.start_mark.line + 1, message))
