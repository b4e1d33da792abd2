"""The commands `dlq` and `parked`: what could not be delivered, and what waits for its
application.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import click
from rich.table import Table
from rich.text import Text

from worker.cli.options import with_configuration
from worker.cli.output import console, dump, progress, readable, say, shown_time
from worker.cli.parameters import moment
from worker.cli.running import run_tool, tool_connection, tool_reader
from worker.core.model.record import Record
from worker.core.wire.record_headers import own
from worker.daemon.app import read_clock
from worker.edges.kafka.reader import TopicReader
from worker.errors import ExitCode
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.dead_letters import export
from worker.tools.dead_letters.explanations import explanation
from worker.tools.dead_letters.record import StoredRecord
from worker.tools.dead_letters.replay import Progress, Replay, ReplayCounts, ReplayPlan
from worker.tools.dead_letters.scan import Where, letters, newest_dead_letters, originals
from worker.tools.dead_letters.selection import Selection
from worker.tools.dead_letters.statistics import Statistics, bar
from worker.tools.dead_letters.topics import LetterKind, letter_topics, redelivered_topics
from worker.tools.dry_run import DryRun


@click.group("dlq")
def dlq() -> None:
    """Dead letters: count, show, export and replay them.

    Example: appmetrica-worker dlq stats --since 1d
    """


@click.group("parked")
def parked() -> None:
    """Parked records: records of applications on hold. The same commands as `dlq`.

    Example: appmetrica-worker parked stats
    """


def with_selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose letters."""
    options = (
        click.option(
            "--topic",
            "topics",
            multiple=True,
            help="Read this topic instead of the configured topics; repeatable.",
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            help="Only records with this reason code; repeatable.",
        ),
        click.option(
            "--application",
            "applications",
            multiple=True,
            type=int,
            help="Only records of this application; repeatable.",
        ),
        click.option(
            "--since",
            type=moment,
            metavar="TIME",
            help="Written at this time or later: 2026-11-25T10:00, Unix seconds, 2h or 7d ago.",
        ),
        click.option("--until", type=moment, metavar="TIME", help="Written before this time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _selection(chosen: dict[str, Any], replays_max: int | None = None) -> Selection:
    return Selection(
        chosen["reasons"], chosen["applications"], chosen["since"], chosen["until"], replays_max
    )


def _stats(kind: LetterKind, loaded: Loaded, as_json: bool, chosen: dict[str, Any]) -> None:
    topics = letter_topics(loaded.settings, kind, chosen["topics"])
    statistics = run_tool(
        loaded.settings, _count(loaded.settings, topics, _selection(chosen), kind)
    )
    if as_json:
        dump({"topics": topics, **statistics.document()})
        return
    out = console()
    out.print(f"{statistics.records:,} {kind.value} in {', '.join(topics)}")
    for title, counts in (
        ("reason", statistics.by_reason),
        ("application", statistics.by_application),
    ):
        if counts:
            out.print(_histogram(title, dict(counts.most_common())))
    if statistics.by_day:
        out.print(
            _histogram(
                "day (UTC)", {day: one.total() for day, one in sorted(statistics.by_day.items())}
            )
        )


async def _count(
    settings: Settings, topics: tuple[str, ...], selection: Selection, kind: LetterKind
) -> Statistics:
    statistics = Statistics()
    async with tool_reader(settings) as reader:
        await _say_missing(reader, topics)
        with progress(f"reading {kind.value}") as report:
            async for letter in letters(reader, settings, Where(topics, selection), report):
                statistics.add(letter)
    return statistics


def _histogram(title: str, counts: dict[str, int]) -> Table:
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


async def _say_missing(reader: TopicReader, topics: tuple[str, ...]) -> None:
    for topic in sorted(set(topics) - await reader.topics()):
        say(f"topic {topic} does not exist")


def _peek(
    kind: LetterKind, loaded: Loaded, count: int, as_json: bool, chosen: dict[str, Any]
) -> None:
    topics = letter_topics(loaded.settings, kind, chosen["topics"])
    found = run_tool(loaded.settings, _newest(loaded.settings, topics, _selection(chosen), count))
    if as_json:
        dump([export.peeked(letter, original) for letter, original in found])
        return
    out = console()
    for letter, original in found:
        out.rule(
            f"{letter.place.topic} {letter.place.partition} {letter.place.offset}", align="left"
        )
        out.print(described(letter, original or letter.record))
    if not found:
        say(f"no {kind.value} match the selection in {', '.join(topics)}")


async def _newest(
    settings: Settings, topics: tuple[str, ...], selection: Selection, count: int
) -> list[tuple[StoredRecord, Record | None]]:
    async with tool_reader(settings) as reader:
        await _say_missing(reader, topics)
        with progress("reading") as report:
            found = await newest_dead_letters(
                reader, settings, Where(topics, selection), count, report
            )
        return list(zip(found, await originals(reader, found), strict=True))


def described(letter: StoredRecord, record: Record) -> Table:
    """A letter for people, with this record's key, headers and value: its own, or the
    original's.
    """
    table = Table.grid(padding=(0, 2))
    written = shown_time(letter.record.timestamp / 1000)
    rows = [("reason", letter.reason), ("", explanation(letter.reason))]
    rows += [
        ("fault", f"{one.field or 'record'}: {one.message}  [{one.reason}]")
        for one in letter.faults
    ]
    if letter.http_status is not None:
        rows.append(("answer", f"HTTP {letter.http_status}"))
    rows += [
        (
            "written",
            f"{written}"
            + (f" by version {letter.worker_version}" if letter.worker_version else ""),
        )
    ]
    if letter.origin is not None:
        rows.append(
            ("origin", f"{letter.origin.topic} {letter.origin.partition} {letter.origin.offset}")
        )
    if letter.replays:
        rows.append(("replays", str(letter.replays)))
    rows += [("header", f"{name}: {readable(value)}") for name, value in own(record)]
    rows.append(("key", readable(record.key)))
    if letter.shortened is not None:
        is_whole = record is not letter.record
        what = (
            "the original record is shown" if is_whole else "the original record no longer exists"
        )
        rows.append(
            (
                "shortened",
                f"the dead letter holds only the start of {letter.shortened.bytes:,} bytes; {what}",
            )
        )
    rows.append(("value", readable(record.value)))
    for name, content in rows:
        # Text, not str: a value may hold what looks like markup.
        table.add_row(Text(name, style="bold"), Text(content, overflow="fold"))
    return table


def _export(
    kind: LetterKind, loaded: Loaded, form: str, output: BinaryIO, chosen: dict[str, Any]
) -> None:
    topics = letter_topics(loaded.settings, kind, chosen["topics"])
    count = run_tool(
        loaded.settings, _write(loaded.settings, topics, _selection(chosen), form, output)
    )
    say(f"{count:,} {kind.value} written")


async def _write(
    settings: Settings, topics: tuple[str, ...], selection: Selection, form: str, output: BinaryIO
) -> int:
    count, shape = 0, export.kcat if form == "kcat" else export.jsonl
    async with tool_reader(settings) as reader:
        await _say_missing(reader, topics)
        with progress("writing") as report:
            async for letter in letters(reader, settings, Where(topics, selection), report):
                output.write(export.line(shape(letter)))
                count += 1
    output.flush()
    return count


def _replay(
    kind: LetterKind, loaded: Loaded, plan: ReplayPlan, *, is_dry: bool, as_json: bool
) -> None:
    settings = loaded.settings
    counts = run_tool(settings, _replayed(settings, plan, is_dry=is_dry))
    if as_json:
        dump({"group_id": plan.group_id, "is_dry_run": is_dry, **counts.document()})
    else:
        _print_replay(plan, counts, kind, is_dry=is_dry)
    sys.exit(ExitCode.BAD_DATA if counts.refused else ExitCode.OK)


async def _replayed(settings: Settings, plan: ReplayPlan, *, is_dry: bool) -> ReplayCounts:
    with progress("dry run" if is_dry else "replaying") as report:

        def tell(state: Progress) -> None:
            report(state.done, state.total, f"{state.counts.sent:,} sent")

        replay = Replay(tool_connection(settings), plan, DryRun(settings), read_clock, tell)
        return await (replay.rehearse() if is_dry else replay.run())


def _print_replay(
    plan: ReplayPlan, counts: ReplayCounts, kind: LetterKind, *, is_dry: bool
) -> None:
    out = console()
    verb = "would be replayed" if is_dry else "replayed and acknowledged"
    out.print(
        f"{counts.sent:,} {kind.value} {verb}; {counts.sent_before:,} were replayed before; "
        f"{counts.not_meant:,} not selected"
    )
    for why, count in counts.refused.most_common():
        out.print(Text(f"{count:,} not replayed: {why}"))
    if is_dry and counts.verdicts:
        out.print("What the worker would do with them now, with this configuration:")
        out.print(_histogram("verdict", dict(counts.verdicts.most_common())))
    say(
        f"the position is stored in the group {plan.group_id}; the same command continues from "
        "there"
    )


def add_commands(group: click.Group, kind: LetterKind) -> None:
    """Give `dlq` and `parked` the same commands."""
    name = group.name

    @group.command(
        "stats",
        help=(
            f"Count the {kind.value}: by reason, application and day.\n\nExample: "
            f"appmetrica-worker {name} stats --since 7d"
        ),
    )
    @with_selection
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @with_configuration
    def stats(loaded: Loaded, as_json: bool, **chosen: Any) -> None:
        _stats(kind, loaded, as_json, chosen)

    @group.command(
        "peek",
        help=f"Show the newest {kind.value}: the reason, what to do about it, and the record.\n\n"
        f"Example: appmetrica-worker {name} peek --max 3",
    )
    @with_selection
    @click.option(
        "--max",
        "count",
        default=5,
        show_default=True,
        type=click.IntRange(1, 1000),
        help="Maximum number of records to show.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @with_configuration
    def peek(loaded: Loaded, count: int, as_json: bool, **chosen: Any) -> None:
        _peek(kind, loaded, count, as_json, chosen)

    @group.command(
        "export",
        help=f"Write the {kind.value} as JSON lines, or in the format of `kcat -J`.\n\n"
        f"Example: appmetrica-worker {name} export --output letters.jsonl",
    )
    @with_selection
    @click.option(
        "--format",
        "form",
        default="jsonl",
        show_default=True,
        type=click.Choice(["jsonl", "kcat"]),
        help="Output format.",
    )
    @click.option(
        "--output",
        default="-",
        show_default=True,
        type=click.File("wb"),
        help="Output file; - is stdout.",
    )
    @with_configuration
    def export_command(loaded: Loaded, form: str, output: BinaryIO, **chosen: Any) -> None:
        _export(kind, loaded, form, output, chosen)

    _add_replay(group, kind)


def _add_replay(group: click.Group, kind: LetterKind) -> None:
    @group.command(
        "replay",
        help=f"Replay {kind.value}: write them to their source topics with the original key, "
        "value and headers.\n\n"
        "Replayed records are remembered: the same command continues after them, and no other "
        "replay writes them again. "
        "Exit code 65 if some of the selected records can't be replayed.\n\n"
        f"Example: appmetrica-worker {group.name} replay --dry-run",
    )
    @with_selection
    @click.option(
        "--dry-run",
        "is_dry",
        is_flag=True,
        help="Write nothing; show what the worker would do with the records now.",
    )
    @click.option(
        "--max",
        "records_max",
        type=click.IntRange(min=1),
        help="Maximum number of records to replay.",
    )
    @click.option(
        "--rate",
        type=click.FloatRange(min=0, min_open=True),
        help="Maximum average records per second.",
    )
    @click.option(
        "--max-replays",
        default=3,
        show_default=True,
        type=click.IntRange(1, 1000),
        help="Refuse records that were replayed this many times already.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option(
        "--anyway",
        is_flag=True,
        hidden=kind is LetterKind.DEAD,
        help="Replay even if a worker reads the topic.",
    )
    @with_configuration
    def replay(
        loaded: Loaded, records_max: int | None, rate: float | None, max_replays: int, **others: Any
    ) -> None:
        topics = letter_topics(loaded.settings, kind, others["topics"])
        read = redelivered_topics(loaded.settings, topics)
        if read and not others["anyway"] and not others["is_dry"]:
            raise click.UsageError(
                f"a worker with this configuration reads {', '.join(read)} and delivers the "
                "parked records when the hold ends; "
                "a replay would deliver them twice. Disable parking (parking.enabled: false), or "
                "use --anyway"
            )
        plan = ReplayPlan(
            topics,
            loaded.settings.kafka.group_id,
            _selection(others, max_replays),
            records_max,
            rate,
        )
        _replay(kind, loaded, plan, is_dry=others["is_dry"], as_json=others["as_json"])


add_commands(dlq, LetterKind.DEAD)
add_commands(parked, LetterKind.PARKED)
