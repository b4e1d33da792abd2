"""How commands speak: data on stdout, messages and progress on stderr; tables for people, JSON for
machines.
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

# A narrow terminal folds; a pipe gets whole lines.
PIPE_COLUMNS = 200
# Of a value, to people.
SHOWN_CHARACTERS_MAX = 4000


class Report(Protocol):
    """Takes how much of how much is done, and a note. `total` None: not known."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None: ...


def console() -> Console:
    """For people, on stdout; the only console of the commands. rich honours NO_COLOR, and colours
    no pipe.

    Text is printed as it is: what looks like rich's markup or like the name of an emoji may be a
    broker's address or a topic.
    """
    return Console(
        width=None if sys.stdout.isatty() else PIPE_COLUMNS,
        highlight=False,
        markup=False,
        emoji=False,
    )


def say(message: str) -> None:
    """A message, on stderr."""
    click.echo(message, err=True)


def dump(document: object) -> None:
    """A document for machines, on stdout."""
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def readable(value: bytes | None) -> str:
    """Bytes of somebody else's, safe to print: no control character reaches the terminal."""
    if value is None:
        return "null"
    text = value.decode(errors="backslashreplace")
    safe = "".join(
        one if one.isprintable() else ascii(one)[1:-1] for one in text[:SHOWN_CHARACTERS_MAX]
    )
    return safe + (f"… ({len(value):,} bytes)" if len(text) > SHOWN_CHARACTERS_MAX else "")


def shown_time(unix_seconds: float) -> str:
    """A moment for people."""
    moment = calendar_time(unix_seconds)
    return UNDATED if moment is None else f"{moment:%Y-%m-%d %H:%M:%S UTC}"


@contextmanager
def progress(description: str) -> Iterator[Report]:
    """A bar on stderr, on a terminal only."""
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
