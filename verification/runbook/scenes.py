"""The scenes: each makes the fault of sections of the runbook, runs their commands, and fixes it.

`NOT_PLAYED` lists the sections whose fault one machine can't make, each with the reason.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from tests.e2e.stage import KEYS, PARTITIONS
from verification.runbook.scene import Expected, NotHere, Scene, SceneFailedError, events
from verification.runbook.shell import ENDED
from worker.errors import UnavailableError
from worker.sandbox.emulator.faults import FaultKind, PlannedFault
from worker.sandbox.topics import started

DAY = 86_400
UNAVAILABLE = 69
UNKNOWN = 3333
NO_CLUSTER = NotHere("there is no cluster on this machine")

NOT_PLAYED: Mapping[str, str] = {
    "Log truncated": "an unclean election needs three brokers; the simulation plays it",
    "Accounting imbalance": "it would be a bug; no setting makes it",
    "Partitions unreadable": "needs a damaged log on a broker's disk; tests/kafka/hostile has some",
    "Clock doubted": "needs another time of the node; tests/unit and the simulation have it",
    "Parked not shrinking": "needs a parking topic that has no worker for hours",
    "Absent": "it is about Prometheus and the cluster; verification of the chart",
    "Crash loop": "its commands are of a cluster; the exit codes are tested in tests/processes",
    "Consumer rebuilt": "needs brokers that accept connections and never answer; make chaos",
    "Memory near limit": "needs a container with a limit; make image",
}


async def application_held(scene: Scene) -> None:
    """A wrong key."""
    scene.stage.emulator.set_keys({1111: "another-key-than-the-worker-has-5b1d"})
    await scene.start()
    await scene.publish(*events(50))
    await scene.until("the application is on hold", lambda status: status["holds"])
    await scene.run(
        "Application held",
        Expected(r'"reason": "http_403"'),
        Expected(r"ok +API http://\S+ +answers"),
        Expected(r"parked records in"),
    )
    scene.stage.emulator.set_keys(KEYS)
    await scene.until("the hold is over", lambda status: not status["holds"])
    await scene.stage.await_rows(50)


async def outage(scene: Scene) -> None:
    """The API answers 503, and the oldest event is 13.5 days old."""
    scene.stage.emulator.plan(PlannedFault(FaultKind.STATUS, status=503))
    await scene.start()
    await scene.publish(*events(50, age_seconds=13.5 * DAY))
    await scene.until(
        "the breaker is open", lambda status: status["destination"]["breaker"] == "open"
    )
    connected = Expected(r"ok +brokers")
    await scene.run(
        "Not delivering", Expected(r'"breaker": "(open|probing)"'), Expected("ready"), connected
    )
    await scene.run(
        "Events expire soon",
        Expected(r'"oldest_event_seconds_left": \d+'),
        Expected(scene.stage.topic),
        Expected(r"oldest_event_seconds_left \d+"),
    )
    await scene.run(
        "Loss forecast",
        Expected(r'"loss_begins_seconds": \d+'),
        Expected(scene.stage.topic, (ENDED,)),
        Expected(r'breaker_state\{state="(open|probing)"\} 1'),
    )
    scene.stage.emulator.plan()
    await scene.stage.await_settled()
    status = await scene.until(
        "no event waits", lambda status: status["forecast"]["oldest_event_seconds_left"] is None
    )
    if status["destination"]["breaker"] not in {"closed", "ramping"}:
        raise SceneFailedError("the breaker did not close")


async def offsets_skipped(scene: Scene) -> None:
    """Kafka deletes records while no worker runs."""
    await scene.start()
    await scene.publish(*events(100))
    await scene.stage.await_settled()
    scene.worker.send(signal.SIGTERM)
    await scene.worker.wait(30)
    await scene.publish(*events(100, age_seconds=3600))
    await _delete_all(scene)
    await scene.start()
    await scene.until("offsets were skipped", _skipped)
    await scene.run(
        "Offsets skipped",
        Expected(r"^[1-9]"),
        Expected("Dynamic configs for topic"),
        Expected(scene.stage.topic),
    )
    before = _skipped(await scene.worker.status())
    await scene.fix(
        "kafka-configs.sh --bootstrap-server BROKER --alter --topic TOPIC "
        "--add-config retention.ms=1209600000"
    )
    await scene.publish(*events(10, age_seconds=7200))
    await scene.stage.await_settled()
    await scene.until("the counter stays", lambda status: _skipped(status) == before)


def _skipped(status: dict[str, Any]) -> int:
    return sum(topic["offsets_skipped"] for topic in status["topics"].values())


async def _delete_all(scene: Scene) -> None:
    """Delete every record of the topic, as its retention would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.stage.bootstrap_servers)
    partitions = [TopicPartition(scene.stage.topic, number) for number in range(PARTITIONS)]
    async with started(admin):
        await admin.delete_records({one: RecordsToDelete(before_offset=-1) for one in partitions})


async def topic_unwritable(scene: Scene) -> None:
    """The dead-letter topic does not exist."""
    topic = f"{scene.stage.topic}.not-created"
    await scene.start({"dead_letter": {"topic": topic}})
    await scene.publish({"application_id": 1111})
    await scene.until("the topic is blocked", lambda status: status["dead_letter_topic_is_blocked"])
    await scene.run(
        "Topic unwritable",
        Expected(r'"dead_letter_topic_is_blocked": true'),
        Expected(topic, (UNAVAILABLE,)),
        Expected("does not exist", (1,)),
        topic=topic,
    )
    await scene.fix(f"kafka-topics.sh --bootstrap-server BROKER --create --topic {topic}")
    await scene.until(
        "the worker has resumed", lambda status: not status["dead_letter_topic_is_blocked"]
    )
    if any(await scene.metric("writes_blocked")):
        raise SceneFailedError("writes_blocked is not 0")


async def dead_letters(scene: Scene) -> None:
    """A producer has a wrong clock, and another sends an application without a key here."""
    await scene.start()
    await scene.publish(*events(10, age_seconds=-2 * DAY))
    await scene.publish(*events(30, application_id=UNKNOWN))
    await scene.until("there are dead letters", lambda status: _dead(status) == 40)
    await scene.run(
        "Dead letters",
        Expected("unknown_application"),
        Expected("unknown_application"),
        Expected(r'"unknown_application": 30'),
    )
    await scene.run(
        "Events from the future",
        Expected('"seconds_ahead"'),
        Expected("UTC|20"),
        Expected("in_future"),
    )
    scene.worker.send(signal.SIGTERM)
    await scene.worker.wait(30)
    scene.keys = {**KEYS, UNKNOWN: "key-of-the-new-application-41de"}
    scene.stage.emulator.set_keys(scene.keys)
    await scene.start()
    await scene.fix("appmetrica-worker dlq replay --dry-run --reason unknown_application")
    await scene.fix("appmetrica-worker dlq replay --reason unknown_application")
    await scene.stage.await_rows(30)
    if any(await scene.metric("dlq_records_total")):
        raise SceneFailedError("dlq_records_total did not stay")


def _dead(status: dict[str, Any]) -> int:
    return sum(sum(topic["dead_lettered"].values()) for topic in status["topics"].values())


async def without_key(scene: Scene) -> None:
    """The configuration names a header for the key, and records have none."""
    await scene.start({"dedup": {"key_header": "event-id"}})
    await scene.publish(*events(30))
    await scene.stage.await_settled()
    await scene.run(
        "Records without key",
        Expected(r'"missing": 30'),
        Expected("(?i)rows|records"),
        Expected("film_watched"),
    )
    before = await scene.metric("records_without_key_total")
    await scene.start({"dedup": {"key_field": "profile_id"}})
    await scene.publish(*events(30, age_seconds=3600, profile_id="another"))
    await scene.stage.await_settled()
    if before == [0.0] or any(await scene.metric("records_without_key_total")):
        raise SceneFailedError("records_without_key_total did not stay")


@asynccontextmanager
async def _other_member(scene: Scene, assignor: type) -> AsyncIterator[None]:
    """Another program in the worker's group."""
    consumer = AIOKafkaConsumer(
        scene.stage.topic,
        bootstrap_servers=scene.stage.bootstrap_servers,
        group_id=scene.stage.topic,
        client_id="another-program",
        enable_auto_commit=False,
        partition_assignment_strategy=(assignor,),
    )
    async with started(consumer):
        yield


async def not_ready(scene: Scene) -> None:
    """Another program holds the group with another assignor."""
    async with _other_member(scene, RangePartitionAssignor):
        starting = asyncio.create_task(scene.start())
        try:
            await scene.until("the worker is not ready", lambda status: status["not_ready_because"])
            await scene.run(
                "Not ready",
                Expected("another-program|another program|group"),
                Expected('"not_ready_because": "'),
                Expected("another-program", (UNAVAILABLE,)),
            )
        except BaseException:
            starting.cancel()
            raise
    # It may have given up waiting before the other program ended.
    with suppress(UnavailableError):
        await starting
    await scene.until("the worker is ready", lambda status: not status["not_ready_because"])


async def partitions_without_member(scene: Scene) -> None:
    """Another program takes a share of the partitions."""
    await scene.start()
    async with _other_member(scene, RoundRobinPartitionAssignor):
        await scene.until(
            "partitions are missing", lambda status: 0 < _assigned(scene, status) < PARTITIONS
        )
        await scene.run(
            "Partitions without member",
            Expected(scene.stage.topic),
            Expected("another-program"),
            NO_CLUSTER,
        )
    await scene.until(
        "all partitions are back", lambda status: _assigned(scene, status) == PARTITIONS
    )


def _assigned(scene: Scene, status: dict[str, Any]) -> int:
    return sum(one["topic"] == scene.stage.topic for one in status["partitions"])


async def rebalance_storm(scene: Scene) -> None:
    """A member joins and leaves again and again."""
    await scene.start()
    for _ in range(3):
        async with _other_member(scene, RoundRobinPartitionAssignor):
            await asyncio.sleep(2)
    await scene.run(
        "Rebalance storm",
        NO_CLUSTER,
        Expected(r'rebalances_total\{event="assigned"\} ([3-9]|\d\d)'),
        Expected("STATE"),
    )
    before = await scene.metric("consumer_rebalances_total")
    await asyncio.sleep(3)
    if await scene.metric("consumer_rebalances_total") != before:
        raise SceneFailedError("consumer_rebalances_total did not stay")


async def key_file_unusable(scene: Scene) -> None:
    """A key file becomes empty."""
    file = scene.directory / "1111"
    file.write_text(KEYS[1111], encoding="utf-8")
    scene.keys = {}
    await scene.start({"appmetrica": {"applications": _key_in(file)}})
    _replace(file, "")
    await _until_metric(scene, "key_files_unusable", 1)
    await scene.run(
        "Key file unusable", Expected("key_not_(read|usable)"), Expected("1111"), NO_CLUSTER
    )
    _replace(file, "a-new-key-for-the-application-0c44")
    scene.stage.emulator.set_keys({1111: "a-new-key-for-the-application-0c44"})
    await _until_metric(scene, "key_files_unusable", 0)
    if "key_changed" not in scene.worker.log_file.read_text(encoding="utf-8"):
        raise SceneFailedError("the log has no key_changed")


def _key_in(file: Path) -> dict[str, Any]:
    return {"1111": {"post_api_key_file": str(file)}}


def _replace(file: Path, text: str) -> None:
    """Replace a file at once, as the kubelet does."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.rename(file)


async def _until_metric(scene: Scene, name: str, value: float) -> None:
    for _ in range(60):
        if await scene.metric(name) == [value]:
            scene.say(f"  {name} is {value:g}")
            return
        await asyncio.sleep(0.5)
    raise SceneFailedError(f"{name} is not {value:g}")


Script = Callable[[Scene], Awaitable[None]]

# The sections that a script plays.
SCENES: Mapping[Script, tuple[str, ...]] = {
    application_held: ("Application held",),
    outage: ("Not delivering", "Events expire soon", "Loss forecast"),
    offsets_skipped: ("Offsets skipped",),
    topic_unwritable: ("Topic unwritable",),
    dead_letters: ("Dead letters", "Events from the future"),
    without_key: ("Records without key",),
    not_ready: ("Not ready",),
    partitions_without_member: ("Partitions without member",),
    rebalance_storm: ("Rebalance storm",),
    key_file_unusable: ("Key file unusable",),
}
