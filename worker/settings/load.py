"""Puts the configuration together: flags over environment over secret files over the YAML file over defaults.

All that is wrong is said at once, each fault with its path and with the place its value came from. No message holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from worker.errors import ConfigurationError, Fault
from worker.settings.layers import (
    Layer,
    Values,
    from_environment,
    from_file,
    from_flags,
    from_secrets,
    merge,
    source_near,
    source_of,
)
from worker.settings.schema import Application, AppMetrica, Settings
from worker.settings.section import FAULT_SEPARATOR, PATH_SEPARATOR

MASK = "********"
# A key is some dozens of characters; a file of more than this was named by mistake.
SECRET_FILE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it may be shown: secrets masked. `source` says where the value came from."""

    path: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is in order, where each of its values came from, and which `AMW_` variables are no settings."""

    settings: Settings
    sources: Mapping[tuple[str, ...], str]
    ignored: frozenset[str] = frozenset()

    def shown(self) -> list[Shown]:
        """Every setting, in the order of the schema."""
        return [Shown(".".join(path), _text(value), source_of(path, self.sources)) for path, value in _flat(self.settings, ())]

    def secrets(self) -> list[str]:
        """Every secret value, for the filter that keeps them out of logs."""
        return [value.get_secret_value() for _, value in _flat(self.settings, ()) if isinstance(value, SecretStr)]

    def config_hash(self) -> str:
        """A short name of this configuration, the same for the same values; secrets don't go into it."""
        lines = "\n".join(f"{one.path}={one.value}" for one in self.shown())
        return sha256(lines.encode()).hexdigest()[:12]


def load(
    config_file: Path | None, environment: Mapping[str, str], secrets_directory: Path | None, flags: Mapping[str, str]
) -> Loaded:
    """Read all layers and check the whole.

    Args:
        config_file: the YAML file; None: none.
        environment: the process's variables; those that start with `AMW_` count.
        secrets_directory: files named like variables; None: none.
        flags: dotted path → value as YAML text.

    Raises:
        ConfigurationError: with every fault found.
    """
    layers = [from_flags(flags), from_environment(environment)]
    if secrets_directory is not None:
        layers.append(from_secrets(secrets_directory))
    if config_file is not None:
        layers.append(from_file(config_file))
    merged = merge(layers)
    _read_secret_files(merged)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged.values)
    except ValidationError as error:
        merged.faults += _all_faults(error.errors(include_input=False, include_url=False), merged)
    if merged.faults or settings is None:
        raise ConfigurationError(merged.faults)
    return Loaded(settings, merged.sources, merged.ignored)


def _read_secret_files(layer: Layer) -> None:
    """Each `…_file` of a secret: the secret is what the file holds."""
    kafka = layer.values.get("kafka")
    applications = _at(layer.values, "appmetrica", "applications")
    places: list[tuple[tuple[str, ...], Any, str]] = [
        (("kafka",), kafka, "sasl_password"),
        (("kafka",), kafka, "ssl_key_password"),
    ]
    if isinstance(applications, dict):
        places += [(("appmetrica", "applications", name), one, "post_api_key") for name, one in applications.items()]
    for path, section, name in places:
        # What is no text is the schema's to complain about.
        if isinstance(section, dict) and isinstance(section.get(f"{name}_file"), str):
            _read_secret_file(layer, path, section, name)


def _read_secret_file(layer: Layer, path: tuple[str, ...], section: Values, name: str) -> None:
    file = Path(section[f"{name}_file"])
    source = source_near((*path, f"{name}_file"), layer.sources)
    dotted = ".".join((*path, f"{name}_file"))
    if section.get(name) is not None:
        layer.faults.append(Fault(dotted, source, f"excludes {name}: give one of the two"))
        return
    # Whatever is wrong with the file, the setting itself was given: no second fault for the same thing.
    section[name] = "unreadable"
    try:
        with file.open("rb") as opened:
            text = opened.read(SECRET_FILE_BYTES_MAX).decode().rstrip("\r\n")
    except OSError as error:
        layer.faults.append(Fault(dotted, source, f"{file} can't be read: {error.strerror}"))
    except UnicodeDecodeError:
        layer.faults.append(Fault(dotted, source, f"{file} is not UTF-8 text"))
    except ValueError:
        layer.faults.append(Fault(dotted, source, "is not the name of a file"))
    else:
        section[name] = text
        layer.sources[(*path, name)] = str(file)
        if not text:
            layer.faults.append(Fault(dotted, source, f"{file} is empty"))
            section[name] = "empty"


def _all_faults(errors: Sequence[ErrorDetails], layer: Layer) -> list[Fault]:
    # A list of one bad entry is empty to pydantic, and it says that as well: the entry's own fault is the one to be mended.
    places = [error["loc"] for error in errors]
    told = [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(place != error["loc"] and place[: len(error["loc"])] == error["loc"] for place in places)
    ]
    return [fault for error in told for fault in _faults(error, layer)]


def _faults(details: ErrorDetails, layer: Layer) -> list[Fault]:
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    source = source_near(path, layer.sources)
    dotted = ".".join(path) or "configuration"
    match details["type"]:
        case "missing":
            return [Fault(dotted, source, _missing(path))]
        case "extra_forbidden":
            near = get_close_matches(path[-1], _names(path[:-1]), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return [Fault(dotted, source, f"unknown key{hint}")]
        case "value_error":
            text = details["msg"].removeprefix("Value error, ")
            return [_agreement(path, part, layer) for part in text.split(FAULT_SEPARATOR)]
        case _:
            return [Fault(dotted, source, details["msg"])]


def _agreement(path: tuple[str, ...], part: str, layer: Layer) -> Fault:
    """A fault that a section found in itself: of the whole, or of a place within it."""
    within, separator, message = part.rpartition(PATH_SEPARATOR)
    whole = (*path, *within.split(".")) if separator else path
    return Fault(".".join(whole) or "configuration", source_near(whole, layer.sources), message)


def _missing(path: tuple[str, ...]) -> str:
    if path[:1] == ("appmetrica",):
        return 'required: at least one application with its key, as in applications: {"1111": {post_api_key_file: FILE}}'
    return "required"


def _names(path: tuple[str, ...]) -> list[str]:
    """The keys that the schema knows at this path."""
    model: object = Settings
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            model = _model_in(annotation)
        elif model is AppMetrica or part.isdigit():
            model = Application if path[:2] == ("appmetrica", "applications") else model
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_in(annotation: object) -> object:
    """The section within an annotation such as `tuple[RouteSettings, ...]` or `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _at(values: Any, *path: str) -> Any:
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _flat(value: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, BaseModel):
        return [leaf for name, inner in value for leaf in _flat(inner, (*path, name))]
    if isinstance(value, Mapping):
        return [leaf for name, inner in value.items() for leaf in _flat(inner, (*path, str(name)))]
    if isinstance(value, tuple) and any(isinstance(inner, BaseModel) for inner in value):
        return [leaf for index, inner in enumerate(value) for leaf in _flat(inner, (*path, str(index)))]
    return [(path, value)]


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(str(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
