"""The command `top`: the state of workers in a terminal."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import datetime

import aiohttp
import click
import orjson
from rich.live import Live
from yarl import URL

from worker.cli.output import console
from worker.cli.running import INTERRUPTED
from worker.cli.top_screen import screen
from worker.errors import ExitCode
from worker.tools.top import WorkerAnswer, admin_url, ask_all

Show = Callable[[Sequence[WorkerAnswer]], None]


def _urls(_context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> list[URL]:
    try:
        return [admin_url(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


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
    type=click.FloatRange(0.5, 3600),
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Print the state once and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per look.")
def top(urls: list[URL], interval: float, once: bool, as_json: bool) -> None:
    """Show the state of workers, until Ctrl-C.

    It reads /status of each worker and needs no configuration. With --once the exit code is 69 if
    a worker does not answer.

    Example: appmetrica-worker top --url worker-1:9090 --url worker-2:9090
    """
    times = 1 if once else sys.maxsize
    try:
        if as_json or once or not sys.stdout.isatty():
            answers = asyncio.run(_watch(urls, times, interval, _json if as_json else _print))
        else:
            with Live(console=console(), auto_refresh=False, screen=True) as live:

                def update(answers: Sequence[WorkerAnswer]) -> None:
                    live.update(screen(answers, datetime.now()), refresh=True)

                answers = asyncio.run(_watch(urls, times, interval, update))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    if any(answer.status is None for answer in answers):
        sys.exit(ExitCode.UNAVAILABLE)


async def _watch(
    urls: Sequence[URL], times: int, interval: float, show: Show
) -> list[WorkerAnswer]:
    """Ask and show, so many times; returns the last answers."""
    answers: list[WorkerAnswer] = []
    async with aiohttp.ClientSession() as session:
        for look in range(times):
            if look:
                await asyncio.sleep(interval)
            answers = await ask_all(session, urls)
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
