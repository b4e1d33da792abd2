"""YAML as values and the line of each. No message shows anything of the text: a secret may stand anywhere in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str, ...]

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_MERGE_TAG = "tag:yaml.org,2002:merge"


class NotYamlError(ValueError):
    """The text can't be read; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Document:
    """The value, with text for keys; each key's line, counted from 1; and the keys that stand twice in one mapping."""

    value: Any
    lines: dict[Place, int] = field(default_factory=dict)
    repeated: dict[Place, int] = field(default_factory=dict)


def read(text: str) -> Document:
    """Read one document.

    Raises:
        NotYamlError: it isn't one, or holds a value that YAML's types don't allow, or itself.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = Document(with_text_keys(yaml.safe_load(text)))
        if node is not None:
            _locate(node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise NotYamlError(where + _QUOTED.sub("…", error.problem or error.context or "not readable")) from None
    except yaml.YAMLError:
        raise NotYamlError("it holds a character that YAML doesn't allow") from None
    except ValueError:
        # As 2026-13-45, which looks like a date.
        raise NotYamlError("it holds a number or a date that doesn't exist; if text is meant, put it in quotes") from None
    except RecursionError:
        raise NotYamlError("it is nested too deeply, or holds itself") from None
    return document


def with_text_keys(value: Any) -> Any:
    """YAML reads the key 1111 as a number; names are text everywhere else."""
    if isinstance(value, dict):
        return {str(name): with_text_keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_text_keys(inner) for inner in value]
    return value


def _locate(node: yaml.Node, place: Place, document: Document) -> None:
    if isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            document.lines[(*place, str(index))] = inner.start_mark.line + 1
            _locate(inner, (*place, str(index)), document)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name_node, inner in node.value:
            if name_node.tag == _MERGE_TAG:
                _locate(inner, place, document)
                continue
            name, line = str(name_node.value), name_node.start_mark.line + 1
            if name in seen:
                document.repeated[(*place, name)] = line
            seen.add(name)
            document.lines[(*place, name)] = line
            _locate(inner, (*place, name), document)
