"""A history of the conformance tests runs twice: on the model, and on real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from verification.simulation.clusters import Cluster, Model, RealKafka
from verification.simulation.conformance import ALL, SECONDS_MAX, History, Play, Stage
from verification.simulation.virtual_loop import run


@pytest.fixture(params=["model", "kafka"])
def play(request: pytest.FixtureRequest, new_topic: Callable[[str], str]) -> Iterator[Play]:
    """Plays a history on the model in virtual time, or on real Kafka in real time."""
    is_model = request.param == "model"
    bootstrap_servers = "" if is_model else request.getfixturevalue("bootstrap_servers")

    async def staged(history: History) -> None:
        cluster: Cluster = Model() if is_model else RealKafka(bootstrap_servers)
        stage = Stage(cluster, new_topic("conformance"), new_topic("group"))
        await cluster.add_topic(stage.topic, len(ALL))
        try:
            async with asyncio.timeout(SECONDS_MAX):
                await history(stage)
        finally:
            await stage.clients.stop()

    def play(history: History) -> None:
        if is_model:
            run(staged(history), seconds_max=2 * SECONDS_MAX)
        else:
            asyncio.run(staged(history))

    yield play
