"""The model's faults, as aiokafka's clients see them.

Behaviour that can be compared with real Kafka is in the conformance tests.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalGenerationError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    NotLeaderForPartitionError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from verification.simulation.clusters import Rebalances
from verification.simulation.kafka_faults import Answer, Chances, Fault
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.virtual_loop import run

TOPIC, GROUP = "events", "workers"
ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
Commits = list[tuple[str, str, dict[TopicPartition, tuple[int, str]]]]


def play(history: Callable[[ModelKafka], Coroutine[Any, Any, None]]) -> None:
    async def staged() -> None:
        kafka = ModelKafka()
        kafka.add_topic(TOPIC, 2)
        await history(kafka)

    run(staged(), seconds_max=3600)


async def joined(
    kafka: ModelKafka, listener: Rebalances | None = None, **options: Any
) -> AIOKafkaConsumer:
    settings = {
        "group_id": GROUP,
        "client_id": "one",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
    }
    consumer = kafka.consumer(**{**settings, **options})
    consumer.subscribe(topics=[TOPIC], listener=listener)
    await consumer.start()
    return consumer


def clock() -> float:
    return asyncio.get_running_loop().time()


def test_an_accepted_commit_is_observed_with_who_made_it() -> None:
    async def history() -> None:
        commits: Commits = []
        kafka = ModelKafka(on_commit=lambda *commit: commits.append(commit))
        kafka.add_topic(TOPIC, 2)
        consumer = await joined(kafka)
        await consumer.commit({ZERO: OffsetAndMetadata(3, "metadata")})
        assert commits == [(GROUP, "one", {ZERO: (3, "metadata")})]
        assert kafka.coordinator.committed(GROUP, ZERO) == (3, "metadata")
        assert kafka.coordinator.committed(GROUP, ONE) is None
        await consumer.stop()

    run(history(), seconds_max=60)


@pytest.mark.parametrize("answer", [Answer.LOST, Answer.NEVER])
def test_a_commit_whose_answer_is_lost_has_its_effect_and_is_sent_again(answer: Answer) -> None:
    async def history() -> None:
        commits: Commits = []
        kafka = ModelKafka(on_commit=lambda *commit: commits.append(commit))
        kafka.add_topic(TOPIC, 2)
        consumer = await joined(kafka, request_timeout_ms=40_000, session_timeout_ms=60_000)
        kafka.faults.disturb(OffsetCommitRequest, Fault(answer=answer))
        started = clock()
        await consumer.commit({ZERO: OffsetAndMetadata(3, "")})
        assert len(commits) == 2
        # aiokafka notices a broken connection at once, a silent one after its request time-out.
        assert clock() - started == pytest.approx(0.1 if answer is Answer.LOST else 40, abs=0.2)
        await consumer.stop()

    run(history(), seconds_max=120)


@pytest.mark.parametrize(
    "error", [IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError]
)
def test_a_refused_commit_has_no_effect_and_makes_the_member_join_again(error: Any) -> None:
    async def history(kafka: ModelKafka) -> None:
        rebalances = Rebalances()
        consumer = await joined(kafka, rebalances)
        kafka.faults.disturb(OffsetCommitRequest, Fault(error))
        with pytest.raises(CommitFailedError):
            await consumer.commit({ZERO: OffsetAndMetadata(3, "")})
        assert kafka.coordinator.committed(GROUP, ZERO) is None
        await rebalances.until(4)
        assert [what for what, _ in rebalances.calls] == ["revoked", "assigned"] * 2
        await consumer.stop()

    play(history)


def test_a_commit_sent_to_the_wrong_coordinator_is_sent_again() -> None:
    async def history(kafka: ModelKafka) -> None:
        consumer = await joined(kafka)
        kafka.faults.disturb(OffsetCommitRequest, Fault(NotCoordinatorForGroupError))
        await consumer.commit({ZERO: OffsetAndMetadata(3, "")})
        assert kafka.coordinator.committed(GROUP, ZERO) == (3, "")
        await consumer.stop()

    play(history)


def test_a_delayed_commit_takes_its_time() -> None:
    async def history(kafka: ModelKafka) -> None:
        consumer = await joined(kafka)
        kafka.faults.disturb(OffsetCommitRequest, Fault(delay_seconds=5))
        started = clock()
        await consumer.commit({ZERO: OffsetAndMetadata(3, "")})
        assert clock() - started == pytest.approx(5, abs=0.1)
        await consumer.stop()

    play(history)


def test_a_corrupt_partition_costs_what_was_taken_from_another_in_the_same_call() -> None:
    async def history(kafka: ModelKafka) -> None:
        consumer = await joined(kafka)
        kafka.faults.corrupt_fetch(ONE)
        for partition in (0, 1):
            kafka.append(TOPIC, partition, None, b"value")
        await asyncio.sleep(1)
        with pytest.raises(CorruptRecordException):
            await consumer.getmany(ZERO, ONE)
        assert (await consumer.position(ZERO), await consumer.position(ONE)) == (1, 0)
        await asyncio.sleep(1)
        # The first call finds what is left of the corrupt chunk; fetched again, it is whole.
        assert await consumer.getmany(ZERO, ONE) == {}
        assert list(await consumer.getmany(ZERO, ONE, timeout_ms=1000)) == [ONE]
        await consumer.stop()

    play(history)


def test_a_session_that_ends_is_noticed_with_the_next_heartbeat() -> None:
    async def history(kafka: ModelKafka) -> None:
        rebalances = Rebalances()
        consumer = await joined(kafka, rebalances, heartbeat_interval_ms=3000)
        kafka.coordinator.expire_session(GROUP, "one")
        assert kafka.coordinator.members(GROUP) == []
        await rebalances.until(4)
        assert 1 < clock() < 4
        assert rebalances.calls[2:] == [
            ("revoked", frozenset({0, 1})),
            ("assigned", frozenset({0, 1})),
        ]
        await consumer.stop()

    play(history)


def test_a_silent_member_is_removed_after_its_session_and_can_not_commit_when_it_is_back() -> None:
    async def history(kafka: ModelKafka) -> None:
        first = await joined(kafka, session_timeout_ms=10_000, rebalance_timeout_ms=60_000)
        kafka.network.cut_off("one")
        started = clock()
        second = await joined(kafka, client_id="two", session_timeout_ms=10_000)
        assert clock() - started == pytest.approx(10, abs=3.1)
        assert first.assignment() == second.assignment() == {ZERO, ONE}
        kafka.network.reconnect("one")
        with pytest.raises(CommitFailedError):
            await first.commit({ZERO: OffsetAndMetadata(1, "")})
        assert kafka.coordinator.committed(GROUP, ZERO) is None
        await first.stop()
        await second.stop()
        assert kafka.coordinator.members(GROUP) == []

    play(history)


def test_a_forced_rebalance_takes_partitions_away_and_gives_them_back() -> None:
    async def history(kafka: ModelKafka) -> None:
        rebalances = Rebalances()
        consumer = await joined(kafka, rebalances)
        kafka.coordinator.force_rebalance(GROUP)
        await rebalances.until(4)
        assert rebalances.calls[3] == ("assigned", frozenset({0, 1}))
        await consumer.stop()

    play(history)


def test_a_cluster_that_is_down_refuses_and_comes_back_with_everything() -> None:
    async def history(kafka: ModelKafka) -> None:
        rebalances = Rebalances()
        consumer = await joined(kafka, rebalances)
        kafka.network.take_down()
        newcomer = kafka.consumer(group_id="others")
        with pytest.raises(KafkaConnectionError):
            await newcomer.start()
        await newcomer.stop()
        kafka.append(TOPIC, 0, None, b"value")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(120):
                await consumer.commit({ZERO: OffsetAndMetadata(0, "")})
        assert await consumer.getmany(timeout_ms=1000) == {}
        kafka.network.bring_up()
        assert len((await consumer.getmany(timeout_ms=10_000))[ZERO]) == 1
        await consumer.commit({ZERO: OffsetAndMetadata(1, "")})
        assert len(rebalances.calls) == 2
        await consumer.stop()

    play(history)


def test_a_cluster_that_hangs_lets_requests_wait() -> None:
    async def history(kafka: ModelKafka) -> None:
        consumer = await joined(kafka)
        kafka.network.hang()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await consumer.commit({ZERO: OffsetAndMetadata(0, "")})
        kafka.network.bring_up()
        await consumer.commit({ZERO: OffsetAndMetadata(1, "")})
        assert kafka.coordinator.committed(GROUP, ZERO) == (1, "")
        await consumer.stop()

    play(history)


def test_a_refused_record_is_sent_again_and_is_there_once() -> None:
    async def history(kafka: ModelKafka) -> None:
        producer = kafka.producer(acks="all", enable_idempotence=True)
        await producer.start()
        kafka.faults.disturb(ProduceRequest, Fault(NotLeaderForPartitionError))
        written = await producer.send_and_wait(TOPIC, b"value", key=b"key")
        assert [record.offset for record in kafka.records(TOPIC)] == [written.offset]
        await producer.stop()

    play(history)


def test_new_partitions_are_found_with_the_metadata() -> None:
    async def history(kafka: ModelKafka) -> None:
        rebalances = Rebalances()
        consumer = await joined(kafka, rebalances, metadata_max_age_ms=10_000)
        kafka.add_topic(TOPIC, 3)
        await rebalances.until(4)
        assert rebalances.calls[3] == ("assigned", frozenset({0, 1, 2}))
        await consumer.stop()

    play(history)


def faulty_history(seed: int) -> list[tuple[float, Any]]:
    """Two members read and commit under every fault; returns the events with their times."""
    happened: list[tuple[float, Any]] = []

    async def work(kafka: ModelKafka, name: str, ends_at: float) -> None:
        consumer = await joined(kafka, client_id=name)
        while clock() < ends_at:
            for partition in sorted(consumer.assignment()):
                try:
                    async with asyncio.timeout(5):
                        got = await consumer.getmany(partition, timeout_ms=100)
                        happened.append(
                            (clock(), (name, [record.offset for record in got.get(partition, [])]))
                        )
                        await consumer.commit(
                            {partition: OffsetAndMetadata(await consumer.position(partition), name)}
                        )
                except (KafkaError, TimeoutError) as error:
                    happened.append((clock(), (name, type(error).__name__)))
            await asyncio.sleep(0.5)
        kafka.faults.chances = Chances()
        await consumer.stop()

    async def history() -> None:
        randomness = random.Random(seed)
        kafka = ModelKafka(randomness, on_commit=lambda *commit: happened.append((clock(), commit)))
        kafka.add_topic(TOPIC, 2)
        kafka.faults.chances = Chances(0.01, 0.05, 0.05, 0.1, 10, 0.05)
        async with asyncio.TaskGroup() as tasks:
            for name in ("one", "two"):
                tasks.create_task(work(kafka, name, 240), name=name)
            for number in range(500):
                kafka.append(TOPIC, number % 2, None, b"%d" % number)
                await asyncio.sleep(randomness.uniform(0, 0.4))

    run(history(), seconds_max=600)
    return happened


@pytest.mark.parametrize("seed", range(3))
def test_the_same_seed_gives_the_same_history(seed: int) -> None:
    history = faulty_history(seed)
    assert len(history) > 200
    assert faulty_history(seed) == history


def test_another_seed_gives_another_history() -> None:
    assert faulty_history(1) != faulty_history(2)
