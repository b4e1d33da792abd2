"""Loads the configuration from its layers.

Flags replace the environment, then come secret files, the YAML file and the defaults. All faults
are reported at once, each with the path and the source of its value. No message contains a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from worker.core.model.secret_text import (
    SECRET_BYTES_MAX,
    Unusable,
    key_in,
    secret_in,
    token_in,
)
from worker.errors import ConfigurationError, Fault
from worker.settings.admin import Admin
from worker.settings.delivery import AppMetrica
from worker.settings.environment import (
    CONFIG_VARIABLE,
    SECRETS_VARIABLE,
    from_environment,
    from_secrets,
)
from worker.settings.kafka import Kafka
from worker.settings.layers import (
    Layer,
    Values,
    from_file,
    from_flags,
    merge,
    source_near,
    source_of,
)
from worker.settings.schema import Settings
from worker.settings.schema_faults import faults_of_schema
from worker.settings.tracing import is_maskable, secrets_of_sdk
from worker.tls_files import TlsFiles, TlsFilesError, faults_of, faults_of_server

MASK = "********"
# The value of a secret whose file has a fault: long enough for every rule.
UNREADABLE = "unreadable-secret"
# What a file of a secret may hold, by the name of the setting; other secrets have no rule.
_SECRETS: Mapping[str, Callable[[bytes], str | Unusable]] = MappingProxyType(
    {"post_api_key": key_in, "token": token_in}
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as it may be shown: secrets are masked. `source` is the source of the value."""

    path: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, the sources of its values, and the `AMW_` variables it ignores.

    `secrets_of_sdk` are secrets that the OpenTelemetry SDK reads from variables of its own.
    """

    settings: Settings
    sources: Mapping[tuple[str, ...], str]
    ignored: frozenset[str] = frozenset()
    secrets_of_sdk: tuple[str, ...] = ()

    def shown(self) -> list[Shown]:
        """Every setting, in the order of the schema."""
        return [
            Shown(".".join(path), _text(value), source_of(path, self.sources))
            for path, value in _flat(self.settings, ())
        ]

    def secrets(self) -> list[str]:
        """Every secret value, for the filter that keeps them out of logs."""
        ours = [
            value.get_secret_value()
            for _, value in _flat(self.settings, ())
            if isinstance(value, SecretStr)
        ]
        return [secret for secret in (*ours, *self.secrets_of_sdk) if is_maskable(secret)]

    def config_hash(self) -> str:
        """A short hash of the configuration's values; secrets are not a part of it."""
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
        merged.faults += faults_of_schema(error, merged)
    merged.faults += _faults_of_tls(merged)
    if merged.faults or settings is None:
        raise ConfigurationError(merged.faults)
    of_sdk = secrets_of_sdk(environment) if settings.tracing.enabled else ()
    return Loaded(settings, merged.sources, merged.ignored, of_sdk)


def _named(path: Path, variable: str, environment: Mapping[str, str]) -> str:
    """The source of a fault of this file or directory: the path, and the variable that names it."""
    return f"{path}, set by {variable}" if environment.get(variable) == str(path) else str(path)


def _read_secret_files(layer: Layer) -> None:
    """Read the secret of each `…_file` setting."""
    kafka, admin = layer.values.get("kafka"), layer.values.get("admin")
    applications = _at(layer.values, "appmetrica", "applications")
    places: list[tuple[tuple[str, ...], Any, str]] = [
        (("kafka",), kafka, "sasl_password"),
        (("kafka",), kafka, "ssl_key_password"),
        (("kafka", "sasl_oauth"), _at(layer.values, "kafka", "sasl_oauth"), "client_secret"),
        (("admin",), admin, "ssl_key_password"),
        (("admin",), admin, "token"),
    ]
    if isinstance(applications, dict):
        places += [
            (("appmetrica", "applications", name), one, "post_api_key")
            for name, one in applications.items()
        ]
    for path, section, name in places:
        # The schema reports values that are not text.
        if isinstance(section, dict) and isinstance(section.get(f"{name}_file"), str):
            _read_secret_file(layer, path, section, name)


def _read_secret_file(layer: Layer, path: tuple[str, ...], section: Values, name: str) -> None:
    file = Path(section[f"{name}_file"])
    source = source_near((*path, f"{name}_file"), layer.sources)
    dotted = ".".join((*path, f"{name}_file"))
    if section.get(name) is not None:
        layer.faults.append(Fault(dotted, source, f"excludes {name}: set only one of the two"))
        return
    # The setting is present even if its file has a fault: no second fault for the same cause.
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
    secret = _SECRETS.get(name, secret_in)(data)
    if isinstance(secret, Unusable):
        layer.faults.append(Fault(dotted, source, f"{file} {secret.message}"))
        return
    section[name] = secret
    layer.sources[(*path, name)] = str(file)


def _faults_of_tls(layer: Layer) -> list[Fault]:
    """The faults of the TLS files of each valid section; other sections may be invalid."""
    found: list[tuple[tuple[str, ...], TlsFilesError]] = []
    for name, section, faults in (
        ("kafka", Kafka, faults_of),
        ("admin", Admin, faults_of_server),
        ("appmetrica", AppMetrica, faults_of),
    ):
        try:
            valid = section.model_validate(layer.values.get(name, {}))
        except ValidationError:
            continue
        files = valid.tls_files()
        if files is not None and files.key_password == UNREADABLE:
            # The password has a fault already, and the key can't be checked without it.
            files = replace(files, certificate_file=None)
        if files is not None:
            found += [((name,), fault) for fault in faults(files)]
        if isinstance(valid, Kafka) and valid.sasl_oauth is not None:
            authority = TlsFiles(valid.sasl_oauth.ssl_ca_file)
            found += [((name, "sasl_oauth"), fault) for fault in faults_of(authority)]
    return [
        Fault(
            ".".join((*path, fault.setting)),
            source_near((*path, fault.setting), layer.sources),
            str(fault),
        )
        for path, fault in found
    ]


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
