"""The command that tells the story of one record."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from worker.cli.options import with_configuration
from worker.cli.output import console, dump, readable, say, shown_time
from worker.cli.running import run_tool, tool_reader
from worker.core.model.fault import Rejection
from worker.core.model.record import Place
from worker.daemon.app import read_clock
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.dead_letters import export
from worker.tools.dead_letters.explanations import explanation
from worker.tools.dry_run import DryRun
from worker.tools.trace import Trace, origin_of, tell


@click.command("why")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_configuration
def why(loaded: Loaded, topic: str, partition: int, offset: int, as_json: bool) -> None:
    """Show what happened to a record.

    Shows whether it is valid, committed, dead-lettered or parked. For a dead letter, shows the
    source record.

    Example: appmetrica-worker why offline-events 0 4711
    """
    story = run_tool(loaded.settings, _tell(loaded.settings, Place(topic, partition, offset)))
    if as_json:
        dump(_document(story))
    else:
        console().print(_described(story))


async def _tell(settings: Settings, place: Place) -> Trace:
    async with tool_reader(settings) as reader:
        origin = await origin_of(reader, settings, place)
        if origin is not None:
            say(f"{place.topic} holds dead letters; showing the source record: {_shown(origin)}")
        return await tell(reader, settings, DryRun(settings), origin or place, read_clock())


def _document(story: Trace) -> dict[str, object]:
    verdict, record = story.verdict, story.record
    faults = verdict.faults if isinstance(verdict, Rejection) else ()
    return {
        **(export.place(story.place) or {}),
        "summary": story.summary,
        "presence": story.presence.name.lower(),
        "progress": story.progress.name.lower(),
        "committed": None if story.committed is None else story.committed.offset,
        "is_valid": None if verdict is None else not faults,
        "faults": [
            {"reason": one.reason.value, "field": one.field, "message": one.message}
            for one in faults
        ],
        "dedup_key": None
        if verdict is None or isinstance(verdict, Rejection)
        else verdict.key.hex(),
        "judged_at": round(story.judged_at, 3),
        "is_replay": story.is_replay,
        "dead_letters": [
            {**(export.place(one.place) or {}), "reason": one.reason} for one in story.dead_letters
        ],
        "parked": [
            {**(export.place(one.letter.place) or {}), "came_home": one.is_settled}
            for one in story.parked
        ],
        **(
            {}
            if record is None
            else {**export.text("key", record.key), **export.text("value", record.value)}
        ),
    }


def _described(story: Trace) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = [("record", f"{_shown(story.place)}, {story.presence.value}"), ("", story.summary)]
    if story.record is not None:
        rows.append(
            (
                "written",
                shown_time(story.record.timestamp / 1000)
                + (", as a replay" if story.is_replay else ""),
            )
        )
        rows += [("key", readable(story.record.key)), ("value", readable(story.record.value))]
    rows += _verdict(story)
    committed = "" if story.committed is None else f" (committed: {story.committed.offset})"
    rows.append(("offset", story.progress.value + committed))
    rows += [
        (
            "dead letter",
            f"{_shown(one.place)}: {one.reason}; {shown_time(one.record.timestamp / 1000)}",
        )
        for one in story.dead_letters
    ]
    for one in story.parked:
        rows.append(
            (
                "parked",
                f"{_shown(one.letter.place)}"
                + ("; redelivered" if one.is_settled else "; still parked"),
            )
        )
    for name, content in rows:
        table.add_row(Text(name, style="bold"), Text(content, overflow="fold"))
    return table


def _verdict(story: Trace) -> list[tuple[str, str]]:
    verdict = story.verdict
    if verdict is None:
        known = (
            "its topic has no route in this configuration"
            if story.record is not None
            else "there is no record to check"
        )
        return [("verdict", known)]
    as_of = f"as of {shown_time(story.judged_at)}, with this configuration"
    if isinstance(verdict, Rejection):
        faults = [
            ("fault", f"{one.field or 'record'}: {one.message}  [{one.reason}]")
            for one in verdict.faults
        ]
        return [("verdict", f"invalid, {as_of}"), ("", explanation(verdict.reason)), *faults]
    goes = verdict.destination
    return [
        ("verdict", f"valid, {as_of}"),
        (
            "goes to",
            f"{goes.resource} of application {goes.application_id}, by {goes.identity.value}",
        ),
        ("dedup key", verdict.key.hex()),
    ]


def _shown(place: Place) -> str:
    return f"{place.topic} {place.partition} {place.offset}"
