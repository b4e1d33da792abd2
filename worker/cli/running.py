"""Runs a command: its configuration, its parameters, its connection, and unreachable brokers."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from worker.cli.output import say
from worker.core.model.record import Place
from worker.daemon.kafka_options import batch_bytes_max, kafka_connection
from worker.edges.kafka.aiokafka_internals.decompression import bound_decompression
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.diagnosis import explain
from worker.edges.kafka.reader import TopicReader
from worker.errors import ConfigurationError, Fault, UnavailableError
from worker.settings.environment import CONFIG_VARIABLE, SECRETS_VARIABLE
from worker.settings.layers import source_of
from worker.settings.load import Loaded, load
from worker.settings.schema import Settings

# A person at a terminal waits for brokers less long than a worker does.
REQUEST_SECONDS_MAX = 15.0
# What a shell reports for a process ended by SIGINT.
INTERRUPTED = 130
# Differs from a worker's client id, so that no starting worker removes a tool from the group.
CLIENT_ID = "appmetrica-worker-tool"

# The application of a configuration without applications, where a command needs none.
NO_APPLICATION = 2**63 - 1

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIX = re.compile(r"[0-9]{9,11}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

T = TypeVar("T")


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


def unix_milliseconds(text: str) -> int:
    """Parse a date, a time, Unix seconds or an age. A time without a zone is UTC.

    Raises:
        click.BadParameter: the text is none of these.
    """
    if (age := _AGO.fullmatch(text)) is not None:
        return round((time.time() - int(age[1]) * _SECONDS[age[2]]) * 1000)
    if _UNIX.fullmatch(text):
        return int(text) * 1000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-11-25, 2026-11-25T10:00, Unix seconds, or an "
            "age such as 30m, 2h or 7d"
        ) from None
    return round(
        (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp() * 1000
    )


def tool_connection(settings: Settings) -> KafkaConnection:
    """The worker's connection, under a client id of its own and with a shorter time-out."""
    connection = kafka_connection(settings, CLIENT_ID)
    return replace(
        connection,
        request_timeout_seconds=min(connection.request_timeout_seconds, REQUEST_SECONDS_MAX),
    )


def tool_reader(settings: Settings) -> TopicReader:
    """A reader that skips unreadable records and reports them on stderr."""
    return TopicReader(tool_connection(settings), on_damage=_say_damage)


def _say_damage(place: Place, detail: str) -> None:
    say(f"{place.topic} {place.partition} {place.offset} is unreadable and is skipped: {detail}")


def run_tool(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run a tool's coroutine and return its result.

    Raises:
        UnavailableError: the brokers can't be reached or refuse a request.
    """
    bound_decompression(batch_bytes_max(settings))
    # The client library logs what it also raises.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (KafkaError, TimeoutError) as error:
        servers = ", ".join(settings.kafka.bootstrap_servers)
        detail = asyncio.run(explain(tool_connection(settings), error))
        raise UnavailableError(
            f"Kafka at {servers} can't be reached or refuses the request: {detail}"
        ) from None
