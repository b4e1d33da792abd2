"""The options that every command with a configuration takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from worker.settings.environment import CONFIG_VARIABLE, SECRETS_VARIABLE
from worker.settings.load import Loaded, load


def with_configuration(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--config`, `--secrets-dir` and `--set`, and call it with what they load, as
    `loaded`.
    """

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
        help="Directory of files that are named like AMW_ variables and hold their values.",
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
        return command(loaded=_load(config_file, secrets_dir, flags), **others)

    return wrapper


def _load(config_file: Path | None, secrets_dir: Path | None, flags: tuple[str, ...]) -> Loaded:
    values: dict[str, str] = {}
    for flag in flags:
        path, separator, value = flag.partition("=")
        if not separator or not path:
            raise click.BadParameter(f"{flag!r} is not PATH=VALUE", param_hint="--set")
        values[path] = value
    return load(config_file, os.environ, secrets_dir, values)
