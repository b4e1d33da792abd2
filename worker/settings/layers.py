"""The layers of the configuration: nested values, each with the source that it comes from.

Every layer is read to its end, and its faults are collected, so that all of them can be shown at
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.errors import Fault
from worker.settings import yaml_text
from worker.settings.yaml_text import KeyPath

# The variable of the setting `kafka.group_id` is `AMW_KAFKA__GROUP_ID`.
ENVIRONMENT_PREFIX = "AMW_"
NESTING = "__"
# Settings that replace each other, beside every `…_file` and the setting that its file contains.
_INSTEAD = {
    "key_header": ("key_field", "key_fields"),
    "key_field": ("key_header", "key_fields"),
    "key_fields": ("key_header", "key_field"),
}
_FILE = "_file"
# The path of a fault of a whole file.
WHOLE_FILE = "file"
Values = dict[str, Any]


@dataclass(slots=True)
class Layer:
    """Nested values, the source of each leaf, the faults, and variables that are not settings."""

    values: Values = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    ignored: frozenset[str] = frozenset()


def from_file(path: Path, source: str) -> Layer:
    """The YAML file: one mapping. Duplicate keys are faults: one of the two would silently win.

    Args:
        path: the file.
        source: the source of a fault of the whole file: the file, and the variable that names it.
    """
    layer = Layer()
    try:
        document = yaml_text.read(path.read_text(encoding="utf-8"))
    except OSError as error:
        layer.faults.append(Fault(WHOLE_FILE, source, f"can't be read: {error.strerror}"))
        return layer
    except UnicodeDecodeError as error:
        layer.faults.append(Fault(WHOLE_FILE, source, f"is not UTF-8 at byte {error.start}"))
        return layer
    except yaml_text.NotYamlError as error:
        layer.faults.append(Fault(WHOLE_FILE, source, f"is not YAML: {error}"))
        return layer
    if document.value is None:
        return layer
    if not isinstance(document.value, dict):
        layer.faults.append(Fault(WHOLE_FILE, source, "must hold a mapping of sections"))
        return layer
    layer.values = document.value
    layer.sources = {key_path: f"{path}:{line}" for key_path, line in document.lines.items()}
    layer.faults = [
        Fault(".".join(fault.path), f"{path}:{fault.line}", fault.message)
        for fault in document.faults
    ]
    return layer


def from_flags(flags: Mapping[str, str]) -> Layer:
    """`--set path=value`, each value read as YAML."""
    layer = Layer()
    for dotted, text in flags.items():
        source = f"--set {dotted}"
        try:
            document = yaml_text.read(text)
        except yaml_text.NotYamlError as error:
            layer.faults.append(Fault(dotted, source, f"the value is not YAML: {error}"))
            continue
        layer.faults += [
            Fault(".".join((dotted, *fault.path)), source, fault.message)
            for fault in document.faults
        ]
        value = document.value
        for name in reversed(dotted.split(".")):
            value = {name: value}
        add(layer, value, source)
    return layer


def merge(layers: list[Layer]) -> Layer:
    """One layer of all: the first in the list is the strongest.

    Mappings are merged, other values replaced. A stronger value also removes its alternative from
    weaker layers: a password removes the file of a password, and the other way round.
    """
    merged = Layer()
    for layer in reversed(layers):
        merged.values = _without_alternatives(merged.values, layer.values)
        merged.sources = {
            path: source for path, source in merged.sources.items() if _has(merged.values, path)
        }
        _lay_over(merged, layer.values, layer.sources)
    merged.faults = [fault for layer in layers for fault in layer.faults]
    merged.ignored = frozenset().union(*(layer.ignored for layer in layers))
    return merged


def source_of(path: KeyPath, sources: Mapping[KeyPath, str]) -> str:
    """The source of the value at exactly this path; `default` if it has none."""
    return sources.get(path, "default")


def source_near(path: KeyPath, sources: Mapping[KeyPath, str]) -> str:
    """The source of a fault at this path: that of the value, or of a value around it or in it."""
    for length in range(len(path), 0, -1):
        if path[:length] in sources:
            return sources[path[:length]]
    inside = [source for known, source in sources.items() if known[: len(path)] == path]
    return inside[0] if inside else "default"


def add(layer: Layer, values: Values, source: str) -> None:
    """Merge values that all have the same source into a layer."""
    _lay_over(layer, values, dict.fromkeys(_paths(values, ()), source))


def _paths(value: object, path: KeyPath) -> list[KeyPath]:
    """The path of every value, but not of mappings that are not empty."""
    if isinstance(value, dict) and value:
        return [
            inner_path
            for name, inner in value.items()
            for inner_path in _paths(inner, (*path, name))
        ]
    if isinstance(value, list):
        return [
            path,
            *(
                found
                for index, inner in enumerate(value)
                for found in _paths(inner, (*path, str(index)))
            ),
        ]
    return [path]


def _lay_over(weaker: Layer, values: Values, sources: Mapping[KeyPath, str]) -> None:
    """Merge stronger values into a layer; a replaced value's inner sources are removed."""
    replaced = {path for path in sources if not isinstance(_at(values, path), dict)}
    kept = {
        path: source
        for path, source in weaker.sources.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }
    weaker.sources = {**kept, **sources}
    weaker.values = _deep_merged(weaker.values, values)


def _at(values: Any, path: KeyPath) -> Any:
    for name in path:
        values = (
            values[int(name)]
            if isinstance(values, list)
            else values.get(name)
            if isinstance(values, dict)
            else None
        )
    return values


def _has(values: Any, path: KeyPath) -> bool:
    """Whether there is a value at this path; null is a value."""
    for name in path:
        if isinstance(values, list) and name.isdigit() and int(name) < len(values):
            values = values[int(name)]
        elif isinstance(values, dict) and name in values:
            values = values[name]
        else:
            return False
    return True


def _without_alternatives(weaker: Values, stronger: Values) -> Values:
    """The weaker values without those whose alternative a stronger layer gives."""
    replaced = {
        other
        for name, value in stronger.items()
        if value is not None
        for other in (f"{name}{_FILE}", name.removesuffix(_FILE), *_INSTEAD.get(name, ()))
        if stronger.get(other) is None
    }
    return {
        name: _without_alternatives(value, stronger[name])
        if isinstance(value, dict) and isinstance(stronger.get(name), dict)
        else value
        for name, value in weaker.items()
        if name not in replaced
    }


def _deep_merged(weaker: Values, stronger: Values) -> Values:
    merged = dict(weaker)
    for name, value in stronger.items():
        before = merged.get(name)
        merged[name] = (
            _deep_merged(before, value)
            if isinstance(before, dict) and isinstance(value, dict)
            else value
        )
    return merged
