"""Clients whose start is cut short, on virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.edges.kafka.model_brokers import remains
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.virtual_loop import run
from worker.sandbox.topics import started


@pytest.mark.parametrize("create", [ModelKafka.producer, ModelKafka.consumer, ModelKafka.admin])
def test_nothing_remains_of_a_client_that_is_cancelled_while_it_starts(
    create: Callable[[ModelKafka], Any],
) -> None:
    async def history(after_seconds: float) -> None:
        kafka = ModelKafka()

        async def use() -> None:
            async with started(create(kafka)):
                await asyncio.Event().wait()

        task = asyncio.create_task(use())
        await asyncio.sleep(after_seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(1)
        assert remains() == []

    for number in range(20):
        run(history(number * 0.001), seconds_max=60)
    # An unclosed client warns when it is collected, and a warning fails the test.
    gc.collect()
