"""The command `lag`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

import click
import orjson
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.cli.loading import with_configuration
from worker.cli.output import console, say
from worker.cli.running import FiniteRange, run_tool, tool_reader
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.lag import PartitionLag, Trend, measure, trend

Show = Callable[[Sequence[PartitionLag], Trend | None], None]


@click.command("lag")
@click.option("--watch", is_flag=True, help="Repeat the measurement and show rates, until Ctrl-C.")
@click.option(
    "--interval",
    default=2.0,
    show_default=True,
    type=FiniteRange(0.2, 3600),
    help="Seconds between two measurements.",
)
@click.option(
    "--count", type=click.IntRange(1), help="With --watch: number of measurements, then exit."
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON per measurement.")
@with_configuration
def lag(loaded: Loaded, watch: bool, interval: float, count: int | None, as_json: bool) -> None:
    """Show the lag of each partition.

    The lag is the number of records that the worker's consumer group has not committed yet.

    Example: appmetrica-worker lag --watch
    """
    times = (count or sys.maxsize) if watch else 1
    if as_json or not (watch and sys.stdout.isatty()):
        run_tool(
            loaded.settings,
            _measure(loaded.settings, times, interval, _json if as_json else _plain),
        )
        return
    with Live(console=console(), auto_refresh=False) as live:

        def show(lags: Sequence[PartitionLag], change: Trend | None) -> None:
            live.update(_table(lags, change), refresh=True)

        run_tool(loaded.settings, _measure(loaded.settings, times, interval, show))


async def _measure(settings: Settings, times: int, interval: float, show: Show) -> None:
    clock = asyncio.get_running_loop().time
    before: list[PartitionLag] = []
    measured_at = 0.0
    async with tool_reader(settings) as reader:
        for number in range(times):
            if number:
                await asyncio.sleep(interval)
            lags, missing = await measure(reader, settings)
            if number == 0:
                for topic in missing:
                    say(f"topic {topic} does not exist")
            now = clock()
            show(lags, trend(before, lags, now - measured_at) if before else None)
            before, measured_at = lags, now


def _json(lags: Sequence[PartitionLag], change: Trend | None) -> None:
    document: dict[str, object] = {
        "lag": sum(one.lag for one in lags),
        "partitions": [one.document() for one in lags],
    }
    if change is not None:
        document["committed_per_second"] = round(change.committed_per_second, 1)
        document["written_per_second"] = round(change.written_per_second, 1)
        document["seconds_left"] = (
            None if change.seconds_left is None else round(change.seconds_left, 1)
        )
    click.echo(orjson.dumps(document))


def _plain(lags: Sequence[PartitionLag], change: Trend | None) -> None:
    console().print(_table(lags, change))


def _table(lags: Sequence[PartitionLag], change: Trend | None) -> Group:
    table = Table(box=None, pad_edge=False)
    for name in ("topic", "partition", "begin", "committed", "end", "lag", "settled above"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    for one in lags:
        committed = "none" if one.committed is None else f"{one.committed:,}"
        style = "red" if one.lost else "yellow" if one.lag else ""
        cells = (
            f"{one.partition.partition}",
            f"{one.begin:,}",
            committed,
            f"{one.end:,}",
            f"{one.lag:,}",
            f"{one.settled_above:,}",
        )
        table.add_row(Text(one.partition.topic), *cells, style=style)
    lines = [Text(f"{sum(one.lag for one in lags):,} records behind in total")]
    lines += [
        Text(f"{one.partition}: {one.lost:,} offsets were deleted before they were read", "red")
        for one in lags
        if one.lost
    ]
    if change is not None:
        left = (
            "lag not shrinking"
            if change.seconds_left is None
            else f"lag 0 in {change.seconds_left:,.0f} s"
        )
        rates = (
            f"{change.committed_per_second:,.0f}/s committed, "
            f"{change.written_per_second:,.0f}/s written"
        )
        lines.append(Text(f"{rates}; {left}" if change.lag else rates))
    return Group(table, *lines)
