"""Scenes of brokers and topics: lost, damaged or missing records and topics, a silent network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from tests.e2e.stage import PARTITIONS, QUICK_GROUP
from tests.record_batches import RawRecord, batch, publish_batch
from verification.chaos.protocols import KafkaProxy
from verification.chaos.traps import Traps
from verification.runbook.scene import UNAVAILABLE, Expected, Scene, SceneFailedError, events
from worker.sandbox.kafka import Listener
from worker.sandbox.topics import started

DAMAGED = batch([RawRecord(b"v", ((b"\xff\xfe", b"x"),))])
# The only segment of a short log.
LOG = f"{0:020}.log"


async def offsets_skipped(scene: Scene) -> None:
    """Kafka deletes records while no worker runs."""
    await scene.start()
    await scene.publish(*events(100))
    await scene.stage.await_settled()
    await scene.stop()
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


async def partitions_unreadable(scene: Scene) -> None:
    """A record has a header whose name is not UTF-8."""
    await scene.start()
    await publish_batch(scene.stage.bootstrap_servers, scene.stage.topic, DAMAGED)
    await scene.publish(*events(20))
    await scene.until(
        "a partition can't be read", lambda status: len(status["partitions_in_trouble"]) == 1
    )
    await scene.run(
        "Partitions unreadable",
        Expected(r'"detail": "CorruptRecordException.*UTF-8'),
        Expected(r"Leader: \d"),
        Expected(scene.stage.topic),
    )
    await scene.stop()
    await scene.start({"kafka": {**QUICK_GROUP, "on_corrupt": "skip"}})
    await scene.stage.await_settled()
    await scene.until("the list is empty", lambda status: not status["partitions_in_trouble"])
    await scene.until("the record is counted", lambda status: _skipped(status) == 1)
    await scene.stage.await_rows(20)


async def log_truncated(scene: Scene) -> None:
    """The leader comes back without the newest records."""
    await scene.start()
    await scene.publish(*events(100))
    await scene.stage.await_settled()
    (node,) = scene.kafka.nodes
    logs = list(node.data_directory.glob(f"{scene.stage.topic}-[0-9]*"))
    older = {log: (log / LOG).read_bytes() for log in logs}
    await scene.publish(*events(100, age_seconds=3600))
    await scene.stage.await_settled()
    await scene.stop()
    node.stop()
    for log, content in older.items():
        _replace_log(log, content)
    node.restart()
    await scene.start()
    await scene.until("logs were truncated", lambda status: _truncations(status) > 0)
    await scene.run(
        "Log truncated",
        Expected(r"^[1-9](.|\n)*log_truncated"),
        Expected("Dynamic configs for topic"),
        Expected(r"Leader: \d"),
    )
    before = _truncations(await scene.worker.status())
    await scene.fix(
        "kafka-configs.sh --bootstrap-server BROKER --alter --topic TOPIC "
        "--add-config unclean.leader.election.enable=false"
    )
    await scene.publish(*events(10, age_seconds=7200))
    await scene.stage.await_rows(210)
    await scene.until("the counter stays", lambda status: _truncations(status) == before)


def _replace_log(directory: Path, content: bytes) -> None:
    """Replace the log of a partition; the broker creates the indexes again."""
    for file in directory.glob(f"{0:020}.*"):
        file.unlink()
    (directory / LOG).write_bytes(content)


def _truncations(status: dict[str, Any]) -> int:
    return sum(topic["log_truncations"] for topic in status["topics"].values())


async def consumer_rebuilt(scene: Scene) -> None:
    """The network between the worker and the brokers takes everything and delivers nothing."""
    listener = scene.proxied
    async with _proxy(listener) as proxy:
        group = {"bootstrap_servers": f"127.0.0.1:{proxy.port}", "stall_seconds": 10}
        await scene.start({"kafka": {**QUICK_GROUP, **group}})
        await scene.publish(*events(10))
        await scene.stage.await_rows(10)
        proxy.swallow()
        await scene.until_metric("consumer_rebuilds_total", 1)
        await scene.run(
            "Consumer rebuilt",
            Expected("no broker answers"),
            Expected("fault", (UNAVAILABLE,)),
            Expected(r"^\s*$"),
        )
        proxy.flow()
        await scene.publish(*events(10, age_seconds=3600))
        await scene.stage.await_rows(20)


@asynccontextmanager
async def _proxy(listener: Listener) -> AsyncIterator[KafkaProxy]:
    """A proxy before a listener of the broker."""
    assert listener.advertised_port is not None
    proxy = KafkaProxy(Traps())
    proxy.port, proxy.upstream_port = listener.advertised_port, listener.port
    await proxy.open()
    try:
        yield proxy
    finally:
        proxy.flow()
        await proxy.close()
