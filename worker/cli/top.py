"""The command `top`: the state of workers in a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
import orjson
from rich.live import Live
from yarl import URL

from worker.cli.output import console
from worker.cli.running import FiniteRange
from worker.cli.top_screen import screen
from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, token_in, unusable_token
from worker.errors import ExitCode
from worker.tls_files import TlsFilesError
from worker.tools.top import Access, WorkerAnswer, admin_url, ask_all

Show = Callable[[Sequence[WorkerAnswer]], None]


def _urls(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[URL]:
    try:
        return [admin_url(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--token-file`, `--ca-file` and `--server-name`; the command gets an `Access`."""

    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        envvar="AMW_ADMIN__TOKEN_FILE",
        show_envvar=True,
        help="File that holds the token of the admin port; or AMW_ADMIN__TOKEN, the token itself.",
    )
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path),
        envvar="AMW_TOP_CA_FILE",
        show_envvar=True,
        help="Trusted CA certificates (PEM) for https; without it those of the system.",
    )
    @click.option(
        "--server-name",
        envvar="AMW_TOP_SERVER_NAME",
        show_envvar=True,
        help="The name in the workers' certificate, where it isn't the host of the URL.",
    )
    @wraps(command)
    def wrapper(
        token_file: Path | None, ca_file: Path | None, server_name: str | None, **others: Any
    ) -> None:
        command(access=Access(_token(token_file), ca_file, server_name), **others)

    return wrapper


def _token(file: Path | None) -> str | None:
    token = os.environ.get("AMW_ADMIN__TOKEN")
    if file is None:
        if token is not None and unusable_token(token) is not None:
            raise click.UsageError("AMW_ADMIN__TOKEN holds no token")
        return token
    try:
        with file.open("rb") as opened:
            found = token_in(opened.read(SECRET_BYTES_MAX + 1))
    except OSError as error:
        raise click.BadParameter(f"{file} can't be read: {error.strerror}") from None
    if isinstance(found, Unusable):
        raise click.BadParameter(f"{file} {found.message}")
    return found


@click.command("top")
@click.option(
    "--url",
    "urls",
    multiple=True,
    default=("localhost:9090",),
    show_default=True,
    callback=_urls,
    metavar="HOST:PORT",
    help="Address of a worker's admin port, or its URL; repeatable.",
)
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=FiniteRange(0.5, 3600),
    help="Seconds between two refreshes.",
)
@click.option("--once", is_flag=True, help="Print the state once and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per refresh.")
@_with_access
def top(access: Access, urls: list[URL], interval: float, once: bool, as_json: bool) -> None:
    """Show the state of workers, until Ctrl-C.

    It reads /status of each worker and needs no configuration. With --once the exit code is 69 if
    a worker does not answer.

    Example: appmetrica-worker top --url worker-1:9090 --url https://worker-2:9090
    """
    times = 1 if once else sys.maxsize
    try:
        if as_json or once or not sys.stdout.isatty():
            answers = asyncio.run(
                _watch(access, urls, times, interval, _json if as_json else _print)
            )
        else:
            with Live(console=console(), auto_refresh=False, screen=True) as live:

                def update(answers: Sequence[WorkerAnswer]) -> None:
                    live.update(screen(answers, datetime.now()), refresh=True)

                answers = asyncio.run(_watch(access, urls, times, interval, update))
    except TlsFilesError as error:
        raise click.BadParameter(str(error), param_hint="--ca-file") from None
    if any(answer.status is None for answer in answers):
        sys.exit(ExitCode.UNAVAILABLE)


async def _watch(
    access: Access, urls: Sequence[URL], times: int, interval: float, show: Show
) -> list[WorkerAnswer]:
    """Ask and show this many times; returns the last answers."""
    answers: list[WorkerAnswer] = []
    async with access.session() as session:
        for look in range(times):
            if look:
                await asyncio.sleep(interval)
            answers = await ask_all(session, urls, access.server_name)
            show(answers)
    return answers


def _json(answers: Sequence[WorkerAnswer]) -> None:
    workers = [
        {"url": answer.address, "status": answer.status, "error": answer.error or None}
        for answer in answers
    ]
    click.echo(orjson.dumps({"workers": workers}))


def _print(answers: Sequence[WorkerAnswer]) -> None:
    console().print(screen(answers, datetime.now()))
