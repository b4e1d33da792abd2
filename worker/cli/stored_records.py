"""What the commands `dlq` and `parked` do and print."""

from __future__ import annotations

from typing import BinaryIO

from rich.table import Table
from rich.text import Text

from worker.cli.output import console, dump, progress, readable, say, shown_time
from worker.cli.running import run_tool, tool_connection, tool_reader
from worker.core.model.record import Place, Record
from worker.core.wire.record_headers import own
from worker.daemon.app import read_clock
from worker.edges.kafka.reader import TopicReader
from worker.settings.schema import Settings
from worker.tools.dead_letters import export
from worker.tools.dead_letters.record import StoredRecord
from worker.tools.dead_letters.replay import Replay
from worker.tools.dead_letters.replay_plan import ReplayCounts, ReplayPlan, ReplayProgress
from worker.tools.dead_letters.scan import (
    Query,
    Statistics,
    StoredKind,
    newest,
    scan,
    source_record,
)
from worker.tools.validation import DryRun

# Eighths of a cell: a small count has a visible bar too.
_PARTS = " ▏▎▍▌▋▊▉"
BAR_CELLS = 40


def show_statistics(settings: Settings, kind: StoredKind, query: Query, *, as_json: bool) -> None:
    """Count the selected records and print the counts."""
    statistics = run_tool(settings, _count(settings, query, kind))
    if as_json:
        dump({"topics": query.topics, **statistics.document()})
        return
    out = console()
    out.print(f"{statistics.records:,} {kind.value} in {', '.join(query.topics)}")
    for title, counts in (
        ("reason", statistics.by_reason),
        ("application", statistics.by_application),
    ):
        if counts:
            out.print(histogram(title, dict(counts.most_common())))
    if statistics.by_day:
        days = {day: counts.total() for day, counts in sorted(statistics.by_day.items())}
        out.print(histogram("day (UTC)", days))


async def _count(settings: Settings, query: Query, kind: StoredKind) -> Statistics:
    statistics = Statistics()
    async with tool_reader(settings) as reader:
        await _say_missing(reader, query)
        with progress(f"reading {kind.value}") as report:
            async for stored in scan(reader, settings, query, report):
                statistics.add(stored)
    return statistics


async def _say_missing(reader: TopicReader, query: Query) -> None:
    for topic in sorted(set(query.topics) - await reader.topics()):
        say(f"topic {topic} does not exist")


def histogram(title: str, counts: dict[str, int]) -> Table:
    """A table of counts with bars."""
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    table.add_column("records", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    total, largest = sum(counts.values()), max(counts.values())
    for name, count in counts.items():
        table.add_row(
            Text(name),
            f"{count:,}",
            f"{count / total:.0%}",
            Text(bar(count, largest), style="cyan"),
        )
    return table


def bar(count: int, largest: int) -> str:
    """A bar of a length proportional to the count; the largest count has the longest bar."""
    eighths = round(BAR_CELLS * 8 * count / largest) if largest else 0
    eighths = max(eighths, 1 if count else 0)
    return ("█" * (eighths // 8) + _PARTS[eighths % 8]).rstrip()


def show_newest(
    settings: Settings, kind: StoredKind, query: Query, count: int, *, as_json: bool
) -> None:
    """Print the newest selected records."""
    found = run_tool(settings, _newest(settings, query, count))
    if as_json:
        dump([export.peeked(stored, source) for stored, source in found])
        return
    out = console()
    for stored, source in found:
        out.rule(address(stored.place), align="left")
        out.print(described(stored, source))
    if not found:
        say(f"no {kind.value} match the selection in {', '.join(query.topics)}")


async def _newest(
    settings: Settings, query: Query, count: int
) -> list[tuple[StoredRecord, Record | None]]:
    async with tool_reader(settings) as reader:
        await _say_missing(reader, query)
        with progress("reading") as report:
            found = await newest(reader, settings, query, count, report)
        return [(stored, await source_record(reader, stored)) for stored in found]


def address(place: Place) -> str:
    """The address of a record, as `why` takes it."""
    return f"{place.topic} {place.partition} {place.offset}"


def described(stored: StoredRecord, source: Record | None) -> Table:
    """A stored record for people, with the whole value of its source record if that is given."""
    record = source or stored.record
    written = f"{shown_time(stored.record.timestamp / 1000)}" + (
        f" by version {stored.worker_version}" if stored.worker_version else ""
    )
    rows = [("reason", stored.reason), ("", export.explanation(stored.reason))]
    rows += [
        ("fault", f"{fault.field or 'record'}: {fault.message}  [{fault.reason}]")
        for fault in stored.faults
    ]
    if stored.http_status is not None:
        rows.append(("answer", f"HTTP {stored.http_status}"))
    rows.append(("written", written))
    if stored.origin is not None:
        rows.append(("origin", address(stored.origin)))
    if stored.replays:
        rows.append(("replays", str(stored.replays)))
    rows += [("header", f"{name}: {readable(value)}") for name, value in own(record)]
    rows.append(("key", readable(record.key)))
    if stored.shortened is not None:
        state = "the source record no longer exists" if source is None else "shown is the source"
        size = f"{stored.shortened.bytes:,} bytes"
        rows.append(("shortened", f"the dead letter holds only the start of {size}; {state}"))
    rows.append(("value", readable(record.value)))
    table = Table.grid(padding=(0, 2))
    for name, content in rows:
        # Text, not str: a value may look like rich's markup.
        table.add_row(Text(name, style="bold"), Text(content, overflow="fold"))
    return table


def write_file(
    settings: Settings, kind: StoredKind, query: Query, file_format: str, output: BinaryIO
) -> None:
    """Write the selected records as lines of JSON."""
    count = run_tool(settings, _write(settings, query, file_format, output))
    say(f"{count:,} {kind.value} written")


async def _write(settings: Settings, query: Query, file_format: str, output: BinaryIO) -> int:
    count, document = 0, export.kcat if file_format == "kcat" else export.jsonl
    async with tool_reader(settings) as reader:
        await _say_missing(reader, query)
        with progress("writing") as report:
            async for stored in scan(reader, settings, query, report):
                output.write(export.line(document(stored)))
                count += 1
    output.flush()
    return count


def replay(settings: Settings, plan: ReplayPlan, *, is_dry: bool) -> ReplayCounts:
    """Replay the selected records; a dry run only counts them."""
    return run_tool(settings, _replay(settings, plan, is_dry=is_dry))


async def _replay(settings: Settings, plan: ReplayPlan, *, is_dry: bool) -> ReplayCounts:
    with progress("dry run" if is_dry else "replaying") as report:

        def show(state: ReplayProgress) -> None:
            report(state.done, state.total, f"{state.counts.sent:,} replayed")

        run = Replay(tool_connection(settings), plan, DryRun(settings), read_clock, show)
        return await (run.try_out() if is_dry else run.run())


def show_replay(
    plan: ReplayPlan, counts: ReplayCounts, kind: StoredKind, *, is_dry: bool, as_json: bool
) -> None:
    """Print the result of a replay."""
    if as_json:
        dump({"group_id": plan.group_id, "is_dry_run": is_dry, **counts.document()})
        return
    out = console()
    verb = "would be replayed" if is_dry else "replayed and acknowledged"
    out.print(
        f"{counts.sent:,} {kind.value} {verb}; {counts.sent_before:,} were replayed before; "
        f"{counts.not_meant:,} not selected"
    )
    for cause, count in counts.refused.most_common():
        out.print(Text(f"{count:,} not replayed: {cause}"))
    if is_dry and counts.verdicts:
        out.print("What the worker would do with them now, with this configuration:")
        out.print(histogram("verdict", dict(counts.verdicts.most_common())))
    say(f"The group {plan.group_id} stores the position; the same command continues from there.")
