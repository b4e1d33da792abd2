"""A closed consumer leaves nothing behind, whatever aiokafka is doing; on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.metadata import MetadataRequest

from tests.unit.edges.kafka.model_brokers import remains
from verification.simulation.kafka_faults import Answer, Fault
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.kafka_network import Network
from verification.simulation.virtual_loop import run
from worker.core.model.record import TopicPartition
from worker.edges.kafka.aiokafka_internals.closing import close_consumer, close_producer
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity
from worker.edges.kafka.reader import Span, TopicReader

TOPIC = "events"


def go_on(network: Network) -> None:
    """Nothing happens to the brokers."""


@pytest.mark.parametrize(
    "disturb", [go_on, Network.take_down, Network.hang, Network.silence_connections]
)
@pytest.mark.parametrize("group_id", [None, "group"])
def test_nothing_remains_of_a_consumer_that_is_closed(
    disturb: Callable[[Network], None], group_id: str | None
) -> None:
    async def history(after_seconds: float) -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 2)
        consumer: AIOKafkaConsumer = kafka.consumer(
            TOPIC, group_id=group_id, request_timeout_ms=5000
        )
        await consumer.start()
        await asyncio.sleep(2)
        disturb(kafka.network)
        await asyncio.sleep(after_seconds)
        began = asyncio.get_running_loop().time()
        await close_consumer(consumer, 1.0)
        assert asyncio.get_running_loop().time() - began <= 4.0
        kafka.network.bring_up()
        await asyncio.sleep(1)
        assert remains() == []

    # Whatever it is doing: a fetch is under way, or waits for its next attempt.
    for number in range(20):
        run(history(number * 0.02), seconds_max=600)


def test_a_stop_that_fails_is_reported() -> None:
    async def history() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 1)
        consumer = kafka.consumer(TOPIC, group_id="group")
        await consumer.start()
        kafka.network.hang()
        assert await close_consumer(consumer, 1.0) == "not stopped in 1 s"

    run(history(), seconds_max=600)


@pytest.mark.parametrize(
    "disturb", [go_on, Network.take_down, Network.hang, Network.silence_connections]
)
def test_nothing_remains_of_a_producer_that_is_closed(
    disturb: Callable[[Network], None],
) -> None:
    async def history(after_seconds: float) -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 2)
        producer = kafka.producer(acks="all", enable_idempotence=True, request_timeout_ms=5000)
        await producer.start()
        await producer.send_and_wait(TOPIC, b"before", partition=0)
        disturb(kafka.network)
        acknowledgements = [
            await producer.send(TOPIC, b"v", partition=number) for number in range(2)
        ]
        await asyncio.sleep(after_seconds)
        began = asyncio.get_running_loop().time()
        await close_producer(producer, 1.0)
        assert asyncio.get_running_loop().time() - began <= 5.0
        for one in acknowledgements:
            one.cancel()
        kafka.network.bring_up()
        await asyncio.sleep(1)
        assert remains() == []

    for number in range(20):
        run(history(number * 0.02), seconds_max=600)


def test_a_producer_is_closed_when_all_that_was_sent_is_written() -> None:
    async def history() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 1)
        producer = kafka.producer(linger_ms=500)
        await producer.start()
        acknowledgement = await producer.send(TOPIC, b"v")
        assert await close_producer(producer, 3.0) is None
        assert (await acknowledgement).offset == 0
        assert [record.value for record in kafka.records(TOPIC)] == [b"v"]

    run(history(), seconds_max=600)


def test_a_client_that_is_closed_before_it_has_started_leaves_nothing() -> None:
    async def history() -> None:
        kafka = ModelKafka()
        kafka.network.hang()
        producer = kafka.producer(request_timeout_ms=5000)
        starting = asyncio.create_task(producer.start())
        await asyncio.sleep(1)
        starting.cancel()
        await asyncio.wait([starting])
        await close_producer(producer, 1.0)
        kafka.network.bring_up()
        await asyncio.sleep(1)
        assert remains() == []

    run(history(), seconds_max=600)


@pytest.mark.parametrize("after_seconds", [0.001, 0.01, 0.03, 1.0])
def test_nothing_remains_of_a_client_that_is_cancelled_while_it_bootstraps(
    after_seconds: float,
) -> None:
    async def history() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 2)
        kafka.faults.disturb(MetadataRequest, Fault(answer=Answer.NEVER))
        client = KafkaConnection((kafka.bootstrap_servers,), "test", 9.0, KafkaSecurity()).client()
        starting = asyncio.create_task(client.bootstrap())
        await asyncio.sleep(after_seconds)
        starting.cancel()
        await asyncio.wait([starting])
        await client.close()
        # The other end learns of it by a message.
        await asyncio.sleep(1)
        assert remains() == []

    run(history(), seconds_max=60)


def test_nothing_remains_of_a_reader_that_is_cancelled_again_while_it_closes() -> None:
    async def history(turns: int) -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 1)
        connection = KafkaConnection((kafka.bootstrap_servers,), "test", 5.0, KafkaSecurity())

        async def read() -> None:
            async with TopicReader(connection) as reader:
                async for _ in reader.chunks([Span(TopicPartition(TOPIC, 0), 0, 10)]):
                    raise AssertionError("an empty partition has no records")

        task = asyncio.create_task(read())
        await asyncio.sleep(2)
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(1)
        assert remains() == []

    for turns in range(1, 10):
        run(history(turns), seconds_max=600)
