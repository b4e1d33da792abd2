"""The command `rehearse`."""

from __future__ import annotations

import time

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.cli.loading import with_configuration
from worker.cli.output import console, dump, progress, say
from worker.cli.running import FiniteRange, run_tool, tool_reader, unix_milliseconds
from worker.daemon.app import read_clock
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.rehearsal import (
    CUSTOM_EVENTS_PER_DAY,
    RehearsalStart,
    Rehearsed,
    Traffic,
    rehearse,
)


def _start(text: str) -> RehearsalStart:
    if text in ("committed", "earliest"):
        return RehearsalStart(is_earliest=text == "earliest")
    return RehearsalStart(since=unix_milliseconds(text))


@click.command("rehearse")
@click.option(
    "--from",
    "start",
    default="committed",
    show_default=True,
    type=_start,
    metavar="START",
    help=(
        "Where to start: committed (the group's position), earliest, or a time: "
        "2026-11-25T10:00, Unix seconds, or an age (2h, 7d)."
    ),
)
@click.option(
    "--seconds",
    default=30.0,
    show_default=True,
    type=FiniteRange(0.1, 86_400),
    help="Maximum duration in seconds.",
)
@click.option(
    "--max",
    "records_max",
    type=click.IntRange(1),
    help="Stop after this number of records; the current chunk is completed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_configuration
def rehearse_command(
    loaded: Loaded, start: RehearsalStart, seconds: float, records_max: int | None, as_json: bool
) -> None:
    """Show what would be sent, without sending it.

    Reads, validates, deduplicates and batches the records of the topics. Sends and commits nothing.

    Example: appmetrica-worker rehearse --from 1d --seconds 60
    """
    began = time.monotonic()
    found = run_tool(loaded.settings, _rehearse(loaded.settings, start, seconds, records_max))
    say(
        f"{found.records:,} records read in {time.monotonic() - began:.1f} s; nothing was sent "
        "or committed"
    )
    if start.since is not None and not found.records:
        say(
            "no record has a timestamp this late. Records without a timestamp are not found by "
            "time: try --from earliest"
        )
    if as_json:
        dump(found.document())
    else:
        _print(found)


async def _rehearse(
    settings: Settings, start: RehearsalStart, seconds: float, records_max: int | None
) -> Rehearsed:
    async with tool_reader(settings) as reader:
        with progress("rehearsing") as report:
            return await rehearse(
                reader,
                settings,
                start,
                read_clock,
                (seconds, records_max),
                lambda done, total, found: report(done, total, f"{found.rows:,} rows"),
            )


def _print(found: Rehearsed) -> None:
    out = console()
    by_content = found.duplicates_by_content
    out.print(
        f"{found.records:,} records: {found.rows:,} rows would be sent, {found.duplicates:,} are "
        "duplicates"
        + (f" ({by_content:,} by content alone)" if by_content else "")
        + (f", {found.skipped:,} would be skipped" if found.skipped else "")
        + f", {found.rejected.total():,} would be dead-lettered, {found.settled_before:,} were "
        "settled before"
    )
    if found.rejected:
        rejected = Table("reason", "records", box=None, pad_edge=False)
        for reason, count in found.rejected.most_common():
            rejected.add_row(Text(reason), f"{count:,}")
        out.print(rejected)
    if found.traffic:
        _print_traffic(out, found)


def _print_traffic(out: Console, found: Rehearsed) -> None:
    """Print what would be sent, and the start of a body of each resource and application."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "resource",
        "application",
        "rows",
        "bytes",
        "requests",
        "rows per day",
        "of the daily quota",
    ):
        table.add_column(name, justify="left" if name == "resource" else "right")
    for (resource, application_id), one in sorted(found.traffic.items()):
        per_day = "?" if one.rows_per_day is None else f"{one.rows_per_day:,.0f}"
        cells = (
            f"{one.rows:,}",
            f"{one.body_bytes:,}",
            f"{one.requests:,}",
            per_day,
            _quota(resource, one),
        )
        table.add_row(resource, str(application_id), *cells)
    out.print(table)
    out.print(
        f"The free plan allows {CUSTOM_EVENTS_PER_DAY:,} custom events a day, including the "
        "events of the SDK."
    )
    for (resource, application_id), one in sorted(found.traffic.items()):
        out.print(Text(f"{resource} of application {application_id}, start of a request body:"))
        # Unchanged: the console would fold long lines.
        click.echo(one.sample, nl=False)


def _quota(resource: str, one: Traffic) -> str:
    """The share of the daily quota, which counts only events."""
    if resource != "events":
        return "-"
    now = f"{one.rows / CUSTOM_EVENTS_PER_DAY:.1%} at once"
    return (
        now
        if one.rows_per_day is None
        else f"{now}, {one.rows_per_day / CUSTOM_EVENTS_PER_DAY:.1%} at this pace"
    )
