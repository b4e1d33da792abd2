"""Output of the commands: data on stdout, messages and progress on stderr.

People get tables and programs get JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from worker.tools.dead_letters.record import UNDATED, calendar_time

# The width where stdout is no terminal: programs get whole lines.
PIPE_COLUMNS = 200
# The part of a value that is shown to people.
SHOWN_CHARACTERS_MAX = 4000


class ReportProgress(Protocol):
    """Takes the work done, the total (None: unknown), and a note."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None:
        """Report the progress."""


def console() -> Console:
    """The console on stdout that every command uses.

    rich honours NO_COLOR and writes no colours to a pipe. Text is printed unchanged: an address or
    a topic may look like rich's markup or like the name of an emoji.
    """
    return Console(
        width=None if sys.stdout.isatty() else PIPE_COLUMNS,
        highlight=False,
        markup=False,
        emoji=False,
    )


def say(message: str) -> None:
    """Print a message on stderr."""
    click.echo(message, err=True)


def dump(document: object) -> None:
    """Print a JSON document on stdout."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def readable(value: bytes | None) -> str:
    """Foreign bytes as text that is safe to print: it has no control character."""
    if value is None:
        return "null"
    text = value.decode(errors="backslashreplace")
    safe = "".join(
        character if character.isprintable() else ascii(character)[1:-1]
        for character in text[:SHOWN_CHARACTERS_MAX]
    )
    return safe + (f"… ({len(value):,} bytes)" if len(text) > SHOWN_CHARACTERS_MAX else "")


def shown_time(unix_seconds: float) -> str:
    """A time for people."""
    moment = calendar_time(unix_seconds)
    return UNDATED if moment is None else f"{moment:%Y-%m-%d %H:%M:%S UTC}"


@contextmanager
def progress(description: str) -> Iterator[ReportProgress]:
    """Show a progress bar on stderr, if that is a terminal."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True, markup=False, emoji=False),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task(description, total=None, note="")

    def report(done: int, total: int | None, note: str = "") -> None:
        bar.update(task, completed=done, total=total, note=note)

    with bar:
        yield report
