"""The command `why`."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from worker.cli.loading import with_configuration
from worker.cli.output import console, dump, readable, say, shown_time
from worker.cli.running import run_tool, tool_reader
from worker.core.model.fault import Rejection
from worker.core.model.record import Place, Skipped
from worker.core.model.row import Row
from worker.core.post_api.resource import RESOURCES
from worker.daemon.app import read_clock
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.dead_letters import export
from worker.tools.trace import Trace, origin_of, trace
from worker.tools.validation import DryRun


@click.command("why")
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_configuration
def why(loaded: Loaded, topic: str, partition: int, offset: int, as_json: bool) -> None:
    """Show what happened to a record.

    Shows whether the record is valid, committed, dead-lettered or parked. If TOPIC is a
    dead-letter topic, shows the source record of the dead letter.

    Example: appmetrica-worker why offline-events 0 4711
    """
    found = run_tool(loaded.settings, _trace(loaded.settings, Place(topic, partition, offset)))
    if as_json:
        dump(_document(found))
    else:
        console().print(_described(found))


async def _trace(settings: Settings, place: Place) -> Trace:
    async with tool_reader(settings) as reader:
        origin = await origin_of(reader, settings, place)
        if origin is not None:
            say(f"{place.topic} holds dead letters; showing the source record: {_shown(origin)}")
        return await trace(reader, settings, DryRun(settings), origin or place, read_clock())


def _document(found: Trace) -> dict[str, object]:
    verdict, record = found.verdict, found.record
    faults = verdict.faults if isinstance(verdict, Rejection) else ()
    return {
        **(export.place(found.place) or {}),
        "summary": found.summary,
        "presence": found.presence.name.lower(),
        "progress": found.progress.name.lower(),
        "committed": None if found.committed is None else found.committed.offset,
        "is_valid": None if verdict is None or isinstance(verdict, Skipped) else not faults,
        "skipped": verdict.reason.value if isinstance(verdict, Skipped) else None,
        "faults": [
            {"reason": one.reason.value, "field": one.field, "message": one.message}
            for one in faults
        ],
        "event_timestamp": _event_timestamp(verdict),
        "dedup_key": verdict.key.hex() if isinstance(verdict, Row) else None,
        "judged_at": round(found.judged_at, 3),
        "is_replay": found.is_replay,
        "dead_letters": [
            {**(export.place(one.place) or {}), "reason": one.reason} for one in found.dead_letters
        ],
        "parked": [
            {**(export.place(one.stored.place) or {}), "came_home": one.is_settled}
            for one in found.parked
        ],
        **(
            {}
            if record is None
            else {**export.text("key", record.key), **export.text("value", record.value)}
        ),
    }


def _described(found: Trace) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = [("record", f"{_shown(found.place)}, {found.presence.value}"), ("", found.summary)]
    if found.record is not None:
        rows.append(
            (
                "written",
                shown_time(found.record.timestamp / 1000)
                + (", as a replay" if found.is_replay else ""),
            )
        )
        rows += [("key", readable(found.record.key)), ("value", readable(found.record.value))]
    rows += _verdict(found)
    committed = "" if found.committed is None else f" (committed: {found.committed.offset})"
    rows.append(("offset", found.progress.value + committed))
    rows += [
        (
            "dead letter",
            f"{_shown(one.place)}: {one.reason}; {shown_time(one.record.timestamp / 1000)}",
        )
        for one in found.dead_letters
    ]
    for one in found.parked:
        rows.append(
            (
                "parked",
                f"{_shown(one.stored.place)}"
                + ("; redelivered" if one.is_settled else "; still parked"),
            )
        )
    for name, content in rows:
        table.add_row(Text(name, style="bold"), Text(content, overflow="fold"))
    return table


def _verdict(found: Trace) -> list[tuple[str, str]]:
    verdict = found.verdict
    if verdict is None:
        known = (
            "its topic has no route in this configuration"
            if found.record is not None
            else "there is no record to check"
        )
        return [("verdict", known)]
    as_of = f"as of {shown_time(found.judged_at)}, with this configuration"
    if isinstance(verdict, Rejection):
        faults = [
            ("fault", f"{one.field or 'record'}: {one.message}  [{one.reason}]")
            for one in verdict.faults
        ]
        return [("verdict", f"invalid, {as_of}"), ("", export.explanation(verdict.reason)), *faults]
    if isinstance(verdict, Skipped):
        return [("verdict", f"skipped ({verdict.reason.value}), {as_of}")]
    goes, seconds = verdict.destination, _event_timestamp(verdict)
    return [
        ("verdict", f"valid, {as_of}"),
        *([] if seconds is None else [("event time", f"{shown_time(seconds)} ({seconds})")]),
        (
            "goes to",
            f"{goes.resource} of application {goes.application_id}, by {goes.identity.value}",
        ),
        ("dedup key", verdict.key.hex()),
    ]


def _event_timestamp(verdict: Row | Rejection | Skipped | None) -> int | None:
    """The time that the row is sent with; None without a row, or where rows have no time."""
    if not isinstance(verdict, Row) or not RESOURCES[verdict.destination.resource].is_dated:
        return None
    return verdict.event_timestamp


def _shown(place: Place) -> str:
    return f"{place.topic} {place.partition} {place.offset}"
