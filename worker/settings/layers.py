"""The layers of the configuration, each as nested values with the place that each one comes from.

Every layer is read to its end, and what is wrong with it is noted as faults, so that all of them
can be shown at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, secret_in
from worker.errors import Fault
from worker.settings import yaml_text
from worker.settings.schema import Settings
from worker.settings.service_links import service_links

ENVIRONMENT_PREFIX = "AMW_"
NESTING = "__"
# Variables that tell the command itself something, and are no settings.
CONFIG_VARIABLE, SECRETS_VARIABLE = "AMW_CONFIG", "AMW_SECRETS_DIR"
COMMAND_VARIABLES = frozenset({CONFIG_VARIABLE, SECRETS_VARIABLE})
# Settings of which one is given instead of the other, beside every `…_file` and what its file
# holds.
_INSTEAD = {"key_header": "key_field", "key_field": "key_header"}
_FILE = "_file"
# The path of a fault that keeps a whole file from being read.
WHOLE_FILE = "file"
TEST_PREFIX = "AMW_TEST_"
_EMPTY = "is empty: set a value, or remove it"

Values = dict[str, Any]
Path_ = tuple[str, ...]


@dataclass(slots=True)
class Layer:
    """Nested values, where each leaf comes from, what was wrong while reading, and which variables
    are no settings.
    """

    values: Values = field(default_factory=dict)
    sources: dict[Path_, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    ignored: frozenset[str] = frozenset()


class _Names(BaseSettings, Settings):
    """The settings' names as pydantic-settings wants them."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTING
    )


class _OneVariable(EnvSettingsSource):
    """pydantic-settings' reading of a single variable, so that a fault can be told from its
    neighbours'.
    """

    def __init__(self, name: str, value: str) -> None:
        self._one = {name.lower(): value}
        super().__init__(_Names)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._one

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read JSON as pydantic-settings does; a key that stands twice is an error, or one of the
        two would silently win.
        """
        decoded = super().decode_complex_value(field_name, field, value)
        if decoded is not value:
            json.loads(value, object_pairs_hook=_without_repetition)
        return decoded


def _without_repetition(pairs: list[tuple[str, Any]]) -> Values:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def from_file(path: Path, source: str) -> Layer:
    """The YAML file: one mapping. Duplicate keys are faults: one of the two would silently win.

    Args:
        path: the file.
        source: what a fault of the whole file names: the file, and the variable if that gave its
            name.
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
    layer.sources = {place: f"{path}:{line}" for place, line in document.lines.items()}
    layer.faults = [
        Fault(".".join(one.place), f"{path}:{one.line}", one.message) for one in document.findings
    ]
    return layer


def from_environment(environment: Mapping[str, str]) -> Layer:
    """Every variable that starts with `AMW_`.

    One that names no setting is a fault, but for those that Kubernetes sets.
    """
    layer = Layer(ignored=service_links(environment))
    for name in sorted(COMMAND_VARIABLES & environment.keys()):
        if not environment[name].strip():
            layer.faults.append(Fault(name, name, _EMPTY))
    for name, value in sorted(environment.items()):
        is_ours = (
            name not in COMMAND_VARIABLES
            and name not in layer.ignored
            and not name.startswith(TEST_PREFIX)
        )
        if name.startswith(ENVIRONMENT_PREFIX) and is_ours:
            _add_variable(layer, name, value, name)
    return layer


def from_secrets(directory: Path, source: str) -> Layer:
    """A directory of files named like variables, each holding a value: a mounted secret.

    Args:
        directory: the directory.
        source: what a fault of the whole directory names.
    """
    layer = Layer()
    try:
        files = sorted(
            path
            for path in directory.iterdir()
            if path.is_file() and path.name.startswith(ENVIRONMENT_PREFIX)
        )
    except OSError as error:
        layer.faults.append(Fault("secrets directory", source, f"can't be read: {error.strerror}"))
        return layer
    for path in files:
        try:
            with path.open("rb") as file:
                value = secret_in(file.read(SECRET_BYTES_MAX + 1))
        except OSError as error:
            layer.faults.append(
                Fault(_setting(path.name), str(path), f"can't be read: {error.strerror}")
            )
            continue
        if isinstance(value, Unusable):
            layer.faults.append(Fault(_setting(path.name), str(path), value.message))
        else:
            _add_variable(layer, path.name, value, str(path))
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
            Fault(".".join((dotted, *one.place)), source, one.message) for one in document.findings
        ]
        value = document.value
        for name in reversed(dotted.split(".")):
            value = {name: value}
        _add(layer, value, source)
    return layer


def merge(layers: list[Layer]) -> Layer:
    """One layer of all, the first in the list the strongest. Mappings merge, everything else
    replaces.

    What a stronger layer gives replaces in the weaker ones what may be given instead of it as well:
    a password the file of a password, and the other way round.
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


def source_of(path: Path_, sources: Mapping[Path_, str]) -> str:
    """Where the value at this very path comes from; `default` if nothing gave it."""
    return sources.get(path, "default")


def source_near(path: Path_, sources: Mapping[Path_, str]) -> str:
    """Where a fault at this path comes from: what gave the value, or something around
    it or in it.
    """
    for length in range(len(path), 0, -1):
        if path[:length] in sources:
            return sources[path[:length]]
    inside = [source for known, source in sources.items() if known[: len(path)] == path]
    return inside[0] if inside else "default"


def _setting(name: str) -> str:
    """The dotted path of the setting that a variable of this name would give."""
    return ".".join(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))


def _add_variable(layer: Layer, name: str, value: str, source: str) -> None:
    path = _setting(name)
    if not value.strip():
        # An empty path would be the working directory, an empty text a name.
        layer.faults.append(Fault(path, source, _EMPTY))
        return
    try:
        values = _OneVariable(name, value)()
    except SettingsError:
        layer.faults.append(
            Fault(
                path,
                source,
                "must be JSON without repeated keys: this setting is a list or an object",
            )
        )
        return
    if values:
        _add(layer, values, source)
    else:
        near = get_close_matches(name, COMMAND_VARIABLES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        layer.faults.append(Fault(path, source, f"no setting has this name{hint}"))


def _add(layer: Layer, values: Values, source: str) -> None:
    _lay_over(layer, values, dict.fromkeys(_paths(values, ()), source))


def _paths(value: object, path: Path_) -> list[Path_]:
    """Every place in these values but the mappings that only lead to others."""
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


def _lay_over(weaker: Layer, values: Values, sources: Mapping[Path_, str]) -> None:
    """Lay stronger values over a layer.

    What they replace as a whole takes the places within it along.
    """
    replaced = {path for path in sources if not isinstance(_at(values, path), dict)}
    kept = {
        path: source
        for path, source in weaker.sources.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }
    weaker.sources = {**kept, **sources}
    weaker.values = _deep_merged(weaker.values, values)


def _at(values: Any, path: Path_) -> Any:
    for name in path:
        values = (
            values[int(name)]
            if isinstance(values, list)
            else values.get(name)
            if isinstance(values, dict)
            else None
        )
    return values


def _has(values: Any, path: Path_) -> bool:
    """Whether there is something at this path, be it null."""
    for name in path:
        if isinstance(values, list) and name.isdigit() and int(name) < len(values):
            values = values[int(name)]
        elif isinstance(values, dict) and name in values:
            values = values[name]
        else:
            return False
    return True


def _without_alternatives(weaker: Values, stronger: Values) -> Values:
    """The weaker values but for those instead of which a stronger one is given."""
    replaced = {
        other
        for name, value in stronger.items()
        if value is not None
        for other in (f"{name}{_FILE}", name.removesuffix(_FILE), _INSTEAD.get(name))
        if other is not None and stronger.get(other) is None
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
