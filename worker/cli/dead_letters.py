"""The commands `dlq` and `parked`: records that were not delivered, and records that wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NoReturn

import click

from worker.cli import stored_records
from worker.cli.loading import with_configuration
from worker.cli.running import FiniteRange, unix_milliseconds
from worker.errors import ExitCode
from worker.settings.load import Loaded
from worker.tools.dead_letters.replay_plan import ReplayPlan
from worker.tools.dead_letters.scan import (
    Query,
    RecordSelection,
    StoredKind,
    ordered_topics,
    redelivered_topics,
    stored_topics,
)

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@click.group("dlq")
def dlq() -> None:
    """Dead letters: count, show, export, replay.

    A dead letter is a record that could not be delivered. It is stored unchanged, with the reason.

    Example: appmetrica-worker dlq stats --since 1d
    """


@click.group("parked")
def parked() -> None:
    """Parked records: count, show, export, replay.

    A record is parked while the API refuses all records of its application, for example because of
    a wrong key. The worker redelivers it by itself when the API accepts the application again.

    Example: appmetrica-worker parked stats
    """


def with_selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select records to a command."""
    options = (
        click.option(
            "--topic",
            "topics",
            multiple=True,
            help="Read this topic instead of the topics of the configuration; repeatable.",
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            help=(
                "Only records with this reason code, such as missing; repeatable. docs/reasons.md "
                "has the codes."
            ),
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
            type=unix_milliseconds,
            metavar="TIME",
            help="Written at this time or later: 2026-11-25T10:00, Unix seconds, or an age (2h).",
        ),
        click.option(
            "--until",
            type=unix_milliseconds,
            metavar="TIME",
            help="Written before this time (same forms as --since).",
        ),
    )
    return _with(options)(command)


def _with(options: Iterable[_Decorator]) -> _Decorator:
    """Add these options to a command, in their order."""

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(tuple(options)):
            command = option(command)
        return command

    return added


def _selection(options: dict[str, Any], replays_max: int | None = None) -> RecordSelection:
    return RecordSelection(
        options["reasons"], options["applications"], options["since"], options["until"], replays_max
    )


def _query(loaded: Loaded, kind: StoredKind, options: dict[str, Any]) -> Query:
    topics = stored_topics(loaded.settings, kind, options["topics"])
    return Query(topics, _selection(options))


def add_commands(group: click.Group, kind: StoredKind) -> None:
    """Add the commands that `dlq` and `parked` share."""
    _add_stats(group, kind)
    _add_peek(group, kind)
    _add_export(group, kind)
    _add_replay(group, kind)


def _add_stats(group: click.Group, kind: StoredKind) -> None:
    @group.command(
        "stats",
        help=(
            f"Count by reason, application and day.\n\nExample: "
            f"appmetrica-worker {group.name} stats --since 7d"
        ),
    )
    @with_selection
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @with_configuration
    def stats(loaded: Loaded, as_json: bool, **options: Any) -> None:
        query = _query(loaded, kind, options)
        stored_records.show_statistics(loaded.settings, kind, query, as_json=as_json)


def _add_peek(group: click.Group, kind: StoredKind) -> None:
    @group.command(
        "peek",
        help=f"Show the newest {kind.value}.\n\n"
        "With each record: its reason, what to do about it, and its content.\n\n"
        f"Example: appmetrica-worker {group.name} peek --max 3",
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
    def peek(loaded: Loaded, count: int, as_json: bool, **options: Any) -> None:
        query = _query(loaded, kind, options)
        stored_records.show_newest(loaded.settings, kind, query, count, as_json=as_json)


def _add_export(group: click.Group, kind: StoredKind) -> None:
    @group.command(
        "export",
        help=f"Write the {kind.value} as lines of JSON.\n\n"
        f"Example: appmetrica-worker {group.name} export --output records.jsonl",
    )
    @with_selection
    @click.option(
        "--format",
        "file_format",
        default="jsonl",
        show_default=True,
        type=click.Choice(["jsonl", "kcat"]),
        help="jsonl: everything known about a record; kcat: the record as `kcat -J` prints it.",
    )
    @click.option(
        "--output",
        default="-",
        show_default=True,
        type=click.File("wb"),
        help="Output file; - is stdout.",
    )
    @with_configuration
    def export_command(loaded: Loaded, file_format: str, output: BinaryIO, **options: Any) -> None:
        query = _query(loaded, kind, options)
        stored_records.write_file(loaded.settings, kind, query, file_format, output)


def _add_replay(group: click.Group, kind: StoredKind) -> None:
    @group.command(
        "replay",
        help=f"Write {kind.value} to their source topics.\n\n"
        "The worker then reads them again. Key, value and headers are the original ones.\n\n"
        "A record that was replayed is not written again: run the same command to continue an "
        "interrupted replay. The exit code is 65 if a selected record can't be replayed.\n\n"
        f"Example: appmetrica-worker {group.name} replay --dry-run",
    )
    @with_selection
    @_with_replay_options(kind)
    @with_configuration
    def replay(loaded: Loaded, **options: Any) -> None:
        _replay(loaded, kind, options)


def _with_replay_options(kind: StoredKind) -> _Decorator:
    """Add the options of a replay to a command."""
    options = (
        click.option(
            "--dry-run",
            "is_dry",
            is_flag=True,
            help="Write nothing; show what the worker would do with the records.",
        ),
        click.option(
            "--max",
            "records_max",
            type=click.IntRange(min=1),
            help="Maximum number of records to replay.",
        ),
        click.option(
            "--rate",
            type=FiniteRange(min=0, min_open=True),
            help="Maximum average records per second.",
        ),
        click.option(
            "--max-replays",
            default=3,
            show_default=True,
            type=click.IntRange(1, 1000),
            help="Do not replay a record that was replayed this many times already.",
        ),
        click.option(
            "--allow-reorder",
            is_flag=True,
            help="Replay also records of ordered topics (profiles): they arrive after newer "
            "records, and may overwrite newer values.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--anyway",
            is_flag=True,
            hidden=kind is StoredKind.DEAD_LETTERS,
            help="Replay even if a worker reads the topic.",
        ),
    )
    return _with(options)


def _replay(loaded: Loaded, kind: StoredKind, options: dict[str, Any]) -> NoReturn:
    topics = stored_topics(loaded.settings, kind, options["topics"])
    consumed = redelivered_topics(loaded.settings, topics)
    if consumed and not options["anyway"] and not options["is_dry"]:
        raise click.UsageError(
            f"a worker with this configuration reads {', '.join(consumed)} and redelivers the "
            "parked records when the hold ends; a replay would deliver them twice. Disable "
            "parking (parking.enabled: false), or use --anyway"
        )
    plan = ReplayPlan(
        topics,
        loaded.settings.kafka.group_id,
        _selection(options, options["max_replays"]),
        options["records_max"],
        options["rate"],
        frozenset() if options["allow_reorder"] else ordered_topics(loaded.settings),
    )
    counts = stored_records.replay(loaded.settings, plan, is_dry=options["is_dry"])
    stored_records.show_replay(
        plan, counts, kind, is_dry=options["is_dry"], as_json=options["as_json"]
    )
    sys.exit(ExitCode.BAD_DATA if counts.refused else ExitCode.OK)


add_commands(dlq, StoredKind.DEAD_LETTERS)
add_commands(parked, StoredKind.PARKED)
