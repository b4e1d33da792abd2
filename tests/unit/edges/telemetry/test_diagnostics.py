"""What a stuck worker writes: bounded lines, at every level, from the loop and from a thread."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

from tests.builders import make_assignment, now_at
from tests.readings import SECRET, WrittenLines, configured_log, make_reading
from worker.core.counters.trail import STEPS_MAX, Trail
from worker.core.model.event import KeyChanged
from worker.edges.telemetry.diagnostics import ITEMS_MAX, PARTITIONS_MAX, Diagnostics
from worker.edges.telemetry.log_filters import REPEATS_MAX
from worker.edges.telemetry.reading import Reading


def many_partitions() -> Reading:
    (one, *_) = make_reading().snapshot.partitions
    return make_reading(
        partitions=tuple(
            replace(one, assignment=make_assignment(number), unsettled=number, is_draining=False)
            for number in range(PARTITIONS_MAX + 100)
        )
    )


def diagnostics(steps: int = 3, reading: Reading | None = None) -> Diagnostics:
    trail = Trail()
    for number in range(steps):
        trail.note(KeyChanged(number), now_at())
    return Diagnostics(trail, lambda: reading or make_reading())


def written(stream: WrittenLines, name: str) -> list[dict[str, object]]:
    """The lines of this part."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if line["event"] == f"diagnostics_{name}"]


async def test_the_document_has_threads_tasks_events_and_partitions() -> None:
    document = diagnostics().document()
    assert list(document) == ["threads", "tasks", "events", "partitions"]
    assert any(str(line).startswith("MainThread: ") for line in document["threads"])
    assert len(document["tasks"]) == 1
    assert len(document["events"]) == 3
    (first, *_) = document["partitions"]
    assert isinstance(first, dict)
    assert {"topic", "partition", "position", "safe_position", "is_paused"} <= first.keys()


async def test_long_lists_continue_in_further_lines_of_which_none_is_held_back(
    root: logging.Logger,
) -> None:
    stream, _ = configured_log(root)
    assert STEPS_MAX // ITEMS_MAX < REPEATS_MAX < PARTITIONS_MAX // ITEMS_MAX
    diagnostics(STEPS_MAX, many_partitions()).write("stalled")
    events, partitions = written(stream, "events"), written(stream, "partitions")
    assert [(line["cause"], line["count"]) for line in events] == [("stalled", STEPS_MAX)] * 4
    assert sum(len(list_of(line["events"])) for line in events) == STEPS_MAX
    shown = [one for line in partitions for one in list_of(line["partitions"])]
    assert (len(shown), len(partitions)) == (PARTITIONS_MAX, PARTITIONS_MAX // ITEMS_MAX)
    # Those with the most unsettled records.
    assert shown[0]["unsettled_records"] == PARTITIONS_MAX + 99
    assert max(map(len, stream.getvalue().splitlines())) < 64 * 1024


def list_of(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list)
    return value


async def test_they_are_written_whatever_the_level_is_and_are_no_errors(
    root: logging.Logger,
) -> None:
    stream, recent = configured_log(root, level="error")
    diagnostics().write("stalled")
    assert len(stream.getvalue().splitlines()) == 4
    assert recent.latest() == []


async def test_a_secret_is_masked_in_them(root: logging.Logger) -> None:
    stream, _ = configured_log(root)
    diagnostics().write(f"refused: {SECRET}")
    assert SECRET not in stream.getvalue()
    assert written(stream, "tasks")[0]["cause"] == "refused: ***"


def test_a_thread_writes_where_threads_are_although_the_loop_is_blocked(
    root: logging.Logger,
) -> None:
    stream, _ = configured_log(root)
    loop = asyncio.new_event_loop()
    # It does not turn: what it has to write waits.
    diagnostics().write_from_thread(loop, "SIGQUIT")
    names = ("threads", "tasks", "events", "partitions")
    assert [len(written(stream, name)) for name in names] == [1, 0, 0, 0]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert [len(written(stream, name)) for name in names] == [1, 1, 1, 1]
