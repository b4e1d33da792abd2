"""Scenes of the consumer group: another program is a member of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from tests.e2e.stage import PARTITIONS
from verification.runbook.scene import (
    NO_CLUSTER,
    UNAVAILABLE,
    Expected,
    Scene,
    SceneFailedError,
)
from worker.errors import UnavailableError
from worker.sandbox.topics import started


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
