"""Puts the configuration together: flags over environment over secret files over the YAML file over
defaults.

All that is wrong is said at once, each fault with its path and with the place its value came from.
No message holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, key_in, secret_in
from worker.errors import ConfigurationError, Fault
from worker.settings.kafka import Kafka
from worker.settings.layers import (
    CONFIG_VARIABLE,
    SECRETS_VARIABLE,
    WHOLE_FILE,
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
from worker.tls_files import faults_of

MASK = "********"
# The one thing that has no default.
APPLICATIONS = ("appmetrica", "applications")
# Stands for a secret whose file is a fault already.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as it may be shown: secrets masked. `source` says where the value came from."""

    path: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is in order, where each of its values came from, and which `AMW_`
    variables are no settings.
    """

    settings: Settings
    sources: Mapping[tuple[str, ...], str]
    ignored: frozenset[str] = frozenset()

    def shown(self) -> list[Shown]:
        """Every setting, in the order of the schema."""
        return [
            Shown(".".join(path), _text(value), source_of(path, self.sources))
            for path, value in _flat(self.settings, ())
        ]

    def secrets(self) -> list[str]:
        """Every secret value, for the filter that keeps them out of logs."""
        return [
            value.get_secret_value()
            for _, value in _flat(self.settings, ())
            if isinstance(value, SecretStr)
        ]

    def config_hash(self) -> str:
        """A short name of this configuration, the same for the same values; secrets don't go into
        it.
        """
        lines = "\n".join(f"{one.path}={one.value}" for one in self.shown())
        return sha256(lines.encode()).hexdigest()[:12]


def load(
    config_file: Path | None,
    environment: Mapping[str, str],
    secrets_directory: Path | None,
    flags: Mapping[str, str],
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
        layers.append(
            from_secrets(
                secrets_directory, _named(secrets_directory, SECRETS_VARIABLE, environment)
            )
        )
    if config_file is not None:
        layers.append(from_file(config_file, _named(config_file, CONFIG_VARIABLE, environment)))
    merged = merge(layers)
    _read_secret_files(merged)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(merged.values)
    except ValidationError as error:
        merged.faults += _all_faults(error.errors(include_input=False, include_url=False), merged)
    merged.faults += _faults_of_tls(merged)
    if merged.faults or settings is None:
        raise ConfigurationError(merged.faults)
    return Loaded(settings, merged.sources, merged.ignored)


def _named(path: Path, variable: str, environment: Mapping[str, str]) -> str:
    """What a fault of this file or directory names as its source: the variable as well, if that
    gave it.
    """
    return f"{path}, set by {variable}" if environment.get(variable) == str(path) else str(path)


def _read_secret_files(layer: Layer) -> None:
    """Each `…_file` of a secret: the secret is what the file holds."""
    kafka = layer.values.get("kafka")
    applications = _at(layer.values, "appmetrica", "applications")
    places: list[tuple[tuple[str, ...], Any, str]] = [
        (("kafka",), kafka, "sasl_password"),
        (("kafka",), kafka, "ssl_key_password"),
    ]
    if isinstance(applications, dict):
        places += [
            (("appmetrica", "applications", name), one, "post_api_key")
            for name, one in applications.items()
        ]
    for path, section, name in places:
        # What is no text is the schema's to complain about.
        if isinstance(section, dict) and isinstance(section.get(f"{name}_file"), str):
            _read_secret_file(layer, path, section, name)


def _read_secret_file(layer: Layer, path: tuple[str, ...], section: Values, name: str) -> None:
    file = Path(section[f"{name}_file"])
    source = source_near((*path, f"{name}_file"), layer.sources)
    dotted = ".".join((*path, f"{name}_file"))
    if section.get(name) is not None:
        layer.faults.append(Fault(dotted, source, f"excludes {name}: set only one of the two"))
        return
    # Whatever is wrong with the file, the setting itself was given: no second fault for the same
    # thing.
    section[name] = UNREADABLE
    try:
        with file.open("rb") as opened:
            data = opened.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        layer.faults.append(Fault(dotted, source, f"{file} can't be read: {error.strerror}"))
        return
    except ValueError:
        layer.faults.append(Fault(dotted, source, "is not a file name"))
        return
    secret = key_in(data) if name == "post_api_key" else secret_in(data)
    if isinstance(secret, Unusable):
        layer.faults.append(Fault(dotted, source, f"{file} {secret.message}"))
        return
    section[name] = secret
    layer.sources[(*path, name)] = str(file)


def _faults_of_tls(layer: Layer) -> list[Fault]:
    """What is wrong with the files of TLS, if their section is in order: whatever the
    others are.
    """
    try:
        files = Kafka.model_validate(layer.values.get("kafka", {})).tls_files()
    except ValidationError:
        return []
    if files is None:
        return []
    if files.key_password == UNREADABLE:
        # A fault already, and nothing can be said of the key without it.
        files = replace(files, certificate_file=None)
    return [
        Fault(
            f"kafka.{error.setting}",
            source_near(("kafka", error.setting), layer.sources),
            str(error),
        )
        for error in faults_of(files)
    ]


def _all_faults(errors: Sequence[ErrorDetails], layer: Layer) -> list[Fault]:
    places = [error["loc"] for error in errors]
    refused = [tuple(fault.path.split(".")) for fault in layer.faults]
    return [
        fault
        for error in errors
        if not _follows(error, places, refused)
        for fault in _faults(error, layer)
    ]


def _follows(
    error: ErrorDetails, places: Sequence[tuple[int | str, ...]], refused: Sequence[tuple[str, ...]]
) -> bool:
    """Whether this is only what another fault leads to: that one is to be fixed, and it is shown.

    A list of one bad entry is empty to pydantic, which says so as well. And what couldn't be read
    of a layer is missing.
    """
    place = error["loc"]
    if error["type"] == "too_short":
        return any(other != place and other[: len(place)] == place for other in places)
    if error["type"] == "missing":
        place = APPLICATIONS if place == APPLICATIONS[:1] else place
        return any(other == (WHOLE_FILE,) or other[: len(place)] == place for other in refused)
    return False


def _faults(details: ErrorDetails, layer: Layer) -> list[Fault]:
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    source = source_near(path, layer.sources)
    dotted = ".".join(path) or "configuration"
    match details["type"]:
        case "missing" | "too_short" | "model_type" | "mapping_type" | "dict_type" if (
            required := _required(path)
        ):
            return [Fault(dotted, source, required)]
        case "missing":
            return [Fault(dotted, source, "required")]
        case "model_type" | "mapping_type" | "dict_type":
            return [
                Fault(
                    dotted, source, "must be a mapping of settings; remove it to use the defaults"
                )
            ]
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


def _required(path: tuple[str, ...]) -> str | None:
    """What must be given at this path at least. None: nothing."""
    match path:
        case ("appmetrica",) | ("appmetrica", "applications"):
            return (
                "required: at least one application with its key, as in applications: "
                '{"1111": {post_api_key_file: FILE}}'
            )
        case ("appmetrica", "applications", _):
            return "required: one of post_api_key and post_api_key_file"
        case ("routes",):
            return "required: at least one route, as in routes: [{topic: offline-events}]"
        case _:
            return None


def _names(path: tuple[str, ...]) -> list[str]:
    """The keys that the schema knows at this path."""
    model: object = Settings
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            model = _model_in(annotation)
        elif model is AppMetrica or part.isdigit():
            model = Application if path[:2] == ("appmetrica", "applications") else model
    return (
        list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    )


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
        return [
            leaf for index, inner in enumerate(value) for leaf in _flat(inner, (*path, str(index)))
        ]
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
