"""The tools that only read, on real Kafka: traces of a real worker, by the installed command."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.e2e.stage import mixed, on_stage
from tests.kafka.cli.commands import Commands, configuration, lines
from worker.sandbox.emulator.server import Emulator, EmulatorOptions
from worker.sandbox.topics import committed_lag, create_topics, publish, read_all

COUNT = 2000
SAMPLES = mixed(COUNT)
BAD = Counter(sample.dead_lettered_as for sample in SAMPLES if sample.dead_lettered_as)


class Stage:
    """A topic that a worker has worked off, and commands that look at it."""

    def __init__(self, bootstrap_servers: str, topic: str, directory: Path) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.dead_letter_topic = f"{topic}.dlq"
        self.commands = Commands(directory, configuration(bootstrap_servers, topic))


@pytest.fixture(scope="module")
def stage(bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Published, worked off and stopped once for all tests here: they only look."""
    topic, directory = f"test-tools-{time.time_ns()}", tmp_path_factory.mktemp("tools")

    async def work() -> None:
        async with on_stage(bootstrap_servers, topic, directory) as played:
            await create_topics(bootstrap_servers, {f"{topic}.parked": 4})
            await played.publish(SAMPLES)
            await played.start_worker()
            await played.await_settled()

    asyncio.run(work())
    yield Stage(bootstrap_servers, topic, directory)


async def test_dead_letters_are_counted_by_reason_application_and_day(stage: Stage) -> None:
    result = await stage.commands.ok("dlq", "stats", "--json")
    assert result.document["by_reason"] == dict(BAD)
    assert (
        result.document["records"]
        == sum(BAD.values())
        == sum(result.document["by_application"].values())
    )
    (day,) = result.document["by_day"].values()
    assert day == dict(BAD)
    none = await stage.commands.ok("dlq", "stats", "--json", "--until", "1d")
    assert none.document["records"] == 0


async def test_people_see_a_histogram_and_no_colours_in_a_pipe(stage: Stage) -> None:
    result = await stage.commands.ok("dlq", "stats", "--reason", "refused")
    assert "refused        1   100%  ████████" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


async def test_colours_are_for_those_who_want_them(stage: Stage) -> None:
    coloured = await stage.commands.run("dlq", "stats", FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[36m" in coloured.stdout
    plain = await stage.commands.run("dlq", "stats", FORCE_COLOR="1", TERM="xterm", NO_COLOR="1")
    assert "\x1b[36m" not in plain.stdout


async def test_peek_shows_the_explanation_and_the_original(stage: Stage) -> None:
    refused = next(sample for sample in SAMPLES if sample.dead_lettered_as == "refused")
    (dead_letter,) = (
        await stage.commands.ok("dlq", "peek", "--reason", "refused", "--json")
    ).document
    assert (
        dead_letter["value"].encode() == refused.value
        and dead_letter["key"].encode() == refused.key
    )
    assert (dead_letter["http_status"], dead_letter["origin"]["topic"]) == (400, stage.topic)
    assert dead_letter["faults"][0]["message"].startswith("the API answered 400")
    assert "The API refused the row" in dead_letter["explanation"]
    text = (await stage.commands.ok("dlq", "peek", "--reason", "refused")).stdout
    assert "The API refused the row" in text and "refused_by_the_api" in text


async def test_peek_takes_the_newest_ones(stage: Stage) -> None:
    dead_letters = (await stage.commands.ok("dlq", "peek", "--max", "2", "--json")).document
    total = sum(BAD.values())
    assert [dead_letter["offset"] for dead_letter in dead_letters] == [total - 1, total - 2]


async def test_what_is_exported_as_kcat_prints_it_can_be_validated(
    stage: Stage, tmp_path: Path
) -> None:
    exported = await stage.commands.ok("dlq", "export", "--format", "kcat")
    assert len(lines(exported.stdout)) == sum(BAD.values())
    assert f"{sum(BAD.values())} dead letters written" in exported.stderr
    result = await stage.commands.run(
        "validate", "-", "--format", "kcat", "--json", stdin=exported.stdout.encode()
    )
    # Only the API knew that one of them was bad.
    assert result.code == 65
    assert lines(result.stdout)[-1]["summary"]["by_reason"] == {
        name: count for name, count in BAD.items() if name != "refused"
    }


async def test_jsonl_goes_to_a_file_with_all_that_is_known(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    await stage.commands.ok("dlq", "export", "--output", str(file), "--reason", "missing")
    dead_letters = lines(file.read_text(encoding="utf-8"))
    assert len(dead_letters) == BAD["missing"]
    assert all(
        dead_letter["faults"][0]["field"] == "event_name"
        and dead_letter["origin"]["topic"] == stage.topic
        for dead_letter in dead_letters
    )


async def test_a_dry_run_shows_what_would_happen_now_and_sends_nothing(stage: Stage) -> None:
    before = await committed_lag(stage.bootstrap_servers, stage.topic, stage.topic)
    result = await stage.commands.ok("dlq", "replay", "--dry-run", "--json")
    verdicts = {("valid" if name == "refused" else name): count for name, count in BAD.items()}
    assert result.document["verdicts"] == verdicts
    assert result.document["sent"] == sum(BAD.values())
    assert await committed_lag(stage.bootstrap_servers, stage.topic, stage.topic) == before == 0


async def test_lag_is_shown_per_partition_and_with_its_trend(stage: Stage) -> None:
    first, second = lines(
        (
            await stage.commands.ok("lag", "--json", "--watch", "--count", "2", "--interval", "0.2")
        ).stdout
    )
    own = [one for one in first["partitions"] if one["topic"] == stage.topic]
    assert (first["lag"], sum(one["end"] for one in own), len(own)) == (0, COUNT, 4)
    assert "committed_per_second" not in first and second["committed_per_second"] == 0
    assert "0 records behind in total" in (await stage.commands.ok("lag")).stdout


async def test_a_watch_is_ended_by_ctrl_c(stage: Stage) -> None:
    process = await stage.commands.start(
        "lag", "--watch", "--json", "--interval", "0.2", out=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert b'"committed_per_second"' in (await process.stdout.readline()) + (
                await process.stdout.readline()
            )
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()


async def test_the_trace_of_a_dead_lettered_record_names_its_dead_letter_from_either_end(
    stage: Stage,
) -> None:
    (dead_letter,) = (
        await stage.commands.ok("dlq", "peek", "--reason", "refused", "--json")
    ).document
    origin = dead_letter["origin"]
    result = await stage.commands.ok(
        "why", origin["topic"], str(origin["partition"]), str(origin["offset"]), "--json"
    )
    traced = result.document
    assert traced["dead_letters"] == [
        {
            "topic": stage.dead_letter_topic,
            "partition": 0,
            "offset": dead_letter["offset"],
            "reason": "refused",
        }
    ]
    assert (traced["is_valid"], traced["progress"], len(traced["dedup_key"])) == (
        True,
        "committed",
        32,
    )
    # The time that the row is sent with.
    assert traced["event_timestamp"] == orjson.loads(traced["value"])["event_timestamp"]
    other = await stage.commands.ok(
        "why", stage.dead_letter_topic, "0", str(dead_letter["offset"]), "--json"
    )
    assert "judged_at" in traced and other.document == traced
    assert f"showing the source record: {origin['topic']}" in other.stderr


async def test_the_trace_of_an_invalid_record_names_every_fault(stage: Stage) -> None:
    # No message that contains the time.
    reason = next(reason for reason in BAD if reason not in ("refused", "too_old", "in_future"))
    (dead_letter,) = (
        await stage.commands.ok("dlq", "peek", "--reason", reason, "--max", "1", "--json")
    ).document
    origin = dead_letter["origin"]
    result = await stage.commands.ok(
        "why", origin["topic"], str(origin["partition"]), str(origin["offset"])
    )
    assert f"It was dead-lettered as {reason}" in result.stdout
    assert dead_letter["faults"]
    assert all(
        fault["message"] in result.stdout and f"[{fault['reason']}]" in result.stdout
        for fault in dead_letter["faults"]
    )


async def test_the_trace_of_a_delivered_record_and_of_no_record(stage: Stage) -> None:
    dead = {
        (dead_letter["origin"]["partition"], dead_letter["origin"]["offset"])
        for dead_letter in lines((await stage.commands.ok("dlq", "export")).stdout)
    }
    offset = next(offset for offset in range(100) if (0, offset) not in dead)
    traced = (await stage.commands.ok("why", stage.topic, "0", str(offset), "--json")).document
    assert traced["summary"] == "It was delivered, or dropped as a duplicate of a delivered event."
    assert (await stage.commands.ok("why", stage.topic, "0", "999999", "--json")).document[
        "presence"
    ] == "not_yet"


async def test_a_rehearsal_finds_what_the_worker_did(stage: Stage) -> None:
    found = (await stage.commands.ok("rehearse", "--from", "earliest", "--json")).document
    duplicates = sum(sample.is_duplicate for sample in SAMPLES)
    # The refused row is the API's alone to refuse.
    rejected = {name: count for name, count in BAD.items() if name != "refused"}
    assert (found["records"], found["rejected"]) == (COUNT, rejected)
    assert (found["duplicates"], found["rows"]) == (
        duplicates,
        COUNT - duplicates - sum(rejected.values()),
    )
    assert {one["application_id"] for one in found["traffic"]} == {1111, 2222}
    again = await stage.commands.ok("rehearse")
    assert "0 records: 0 rows would be sent" in again.stdout


async def test_no_tool_that_looks_leaves_a_trace(stage: Stage) -> None:
    """Run after the others of this file; each of them would have moved something."""
    assert await committed_lag(stage.bootstrap_servers, stage.topic, stage.topic) == 0
    assert len(await read_all(stage.bootstrap_servers, stage.dead_letter_topic)) == sum(
        BAD.values()
    )
    assert len(await read_all(stage.bootstrap_servers, stage.topic)) == COUNT


async def test_check_config_connects_and_says_what_it_finds(stage: Stage) -> None:
    async with Emulator(EmulatorOptions(keys={1111: "secret-one"})) as api:
        setting = f"appmetrica.base_url={api.base_url}"
        found = await stage.commands.ok("check-config", "--connect", "--json", "--set", setting)
        assert api.ledger.requests_total == 0
    whats = {"memory", "brokers", "topic", "parking", "dead-letter", "group", "API"}
    assert {one["what"].split()[0] for one in found.document} == whats
    # How much memory this machine allows is its own affair.
    assert {one["standing"] for one in found.document if one["what"] != "memory"} == {"ok"}
    result = await stage.commands.run(
        "check-config",
        "--connect",
        "--json",
        "--set",
        "dead_letter.topic=nowhere",
        "--set",
        "parking.enabled=false",
    )
    assert result.code == 69
    faults = {one["what"]: one["detail"] for one in result.document if one["standing"] == "fault"}
    assert faults["dead-letter topic nowhere"] == "does not exist"
    assert faults.keys() == {"dead-letter topic nowhere", "API http://127.0.0.1:9/"}


@pytest.mark.parametrize(
    "arguments", [("lag",), ("dlq", "stats"), ("why", "t", "0", "0"), ("rehearse",)]
)
async def test_brokers_that_are_away_are_reported_in_a_line(
    arguments: tuple[str, ...], stage: Stage
) -> None:
    result = await stage.commands.run(*arguments, "--set", "kafka.bootstrap_servers=127.0.0.1:9")
    assert (result.code, result.stdout) == (69, "")
    assert result.stderr.startswith(
        "Kafka at 127.0.0.1:9 can't be reached or refuses the request: "
    )
    assert len(result.stderr.splitlines()) == 1


async def test_no_key_is_ever_shown(stage: Stage) -> None:
    await publish(
        stage.bootstrap_servers,
        f"{stage.topic}.parked",
        [(b"k", orjson.dumps({"application_id": 1111}))],
    )
    shown = [
        await stage.commands.run(*arguments)
        for arguments in (("parked", "peek"), ("check-config", "--connect"))
    ]
    assert "application_id" in shown[0].stdout
    assert not any("secret-" in one.stdout + one.stderr for one in shown)
