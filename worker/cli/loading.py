"""The configuration of a command: the options that name its sources, and how it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from worker.errors import ConfigurationError, Fault
from worker.settings.environment import CONFIG_VARIABLE, SECRETS_VARIABLE
from worker.settings.layers import source_of
from worker.settings.load import Loaded, load

# The application of a configuration without applications, where a command needs none.
NO_APPLICATION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ConfigurationSources:
    """The sources that the command line names; the environment is a further source."""

    config_file: Path | None
    secrets_dir: Path | None
    flags: Mapping[str, str]

    def load(self, more_flags: Mapping[str, str] = MappingProxyType({})) -> Loaded:
        """Load the configuration; `more_flags` override every other source."""
        flags = {**self.flags, **more_flags}
        return load(self.config_file, os.environ, self.secrets_dir, flags)


def require_extras(loaded: Loaded) -> None:
    """Make sure that the packages are installed that the configuration needs.

    Raises:
        ConfigurationError: a package is missing.
    """
    if not loaded.settings.tracing.enabled:
        return
    try:
        import_module("worker.edges.telemetry.traces")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("worker"):
            raise
        path = ("tracing", "enabled")
        message = (
            f"the extra otel is not installed ({error.name} is missing): install "
            "appmetrica-worker[otel], or build the image with "
            "--build-arg REQUIREMENTS=requirements-otel.lock"
        )
        source = source_of(path, loaded.sources)
        raise ConfigurationError([Fault(".".join(path), source, message)]) from None


def with_configuration(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config`, `--secrets-dir` and `--set`; the command gets the result as `loaded`."""

    @_with_sources
    @wraps(command)
    def wrapper(sources: ConfigurationSources, **others: Any) -> Any:
        return command(loaded=sources.load(), **others)

    return wrapper


def with_optional_keys(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that sends nothing and needs no keys.

    A placeholder replaces each key that is missing or unreadable. Without any application the
    configuration gets the application `NO_APPLICATION`.
    """

    @_with_sources
    @wraps(command)
    def wrapper(sources: ConfigurationSources, **others: Any) -> Any:
        try:
            loaded = sources.load()
        except ConfigurationError as error:
            keys = dict(_placeholders(error.faults))
            loaded = sources.load(keys)
        return command(loaded=loaded, **others)

    return wrapper


def _placeholders(faults: Iterable[Fault]) -> Iterator[tuple[str, str]]:
    for fault in faults:
        match fault.path.split("."):
            case ["appmetrica"] | ["appmetrica", "applications"]:
                yield f"appmetrica.applications.{NO_APPLICATION}.post_api_key", "none"
            case ["appmetrica", "applications", number, *_]:
                yield f"appmetrica.applications.{number}.post_api_key", "none"
            case _:
                # Loading it again reports the fault.
                pass


def _with_sources(command: Callable[..., Any]) -> Callable[..., Any]:
    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        envvar=CONFIG_VARIABLE,
        show_envvar=True,
        help="YAML configuration file.",
    )
    @click.option(
        "--secrets-dir",
        type=click.Path(path_type=Path),
        envvar=SECRETS_VARIABLE,
        show_envvar=True,
        help="Directory of secrets. A file is named like an AMW_ variable and holds its value.",
    )
    @click.option(
        "--set",
        "flags",
        multiple=True,
        metavar="PATH=VALUE",
        help="Set a value, such as kafka.group_id=test. Overrides all other sources; repeatable.",
    )
    @wraps(command)
    def wrapper(
        config_file: Path | None, secrets_dir: Path | None, flags: tuple[str, ...], **others: Any
    ) -> Any:
        values = dict(map(_flag, flags))
        return command(ConfigurationSources(config_file, secrets_dir, values), **others)

    return wrapper


def _flag(text: str) -> tuple[str, str]:
    path, separator, value = text.partition("=")
    if not separator or not path:
        raise click.BadParameter(f"{text!r} is not PATH=VALUE", param_hint="--set")
    return path, value
