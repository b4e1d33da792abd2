"""A stop in every state: it ends in time, and the next worker delivers what is left, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from aiokafka.structs import TopicPartition

from verification.simulation.api_model import ModelApi
from verification.simulation.crashes import Crashes
from verification.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from verification.simulation.scenario import Mood, Scenario, Window, draw
from verification.simulation.truth import (
    DEAD_LETTER_TOPIC,
    GROUP,
    PARKING_TOPIC,
    TOPIC,
    Published,
    Truth,
)
from verification.simulation.virtual_loop import run
from verification.simulation.worker_life import DRAIN_SECONDS, Born, WorkerLife
from worker.daemon.app import CLOSING_SECONDS_MAX

STATE_SECONDS_MAX = 40.0
EVENTS = 300
# Rows of application 1 and application 2 in turn.
EVER = 10_000.0


@dataclass(frozen=True, slots=True)
class State:
    """The state of the worker when it is stopped.

    `is_reached` is called repeatedly; `fault` is the API's answer until the stop is over; `missing`
    is a topic that doesn't exist until then. `leaves`: something must be left unsettled (None: it
    may or may not). `may_repeat`: an answer or a commit that was lost may cause duplicates.
    """

    is_reached: Callable[[WorkerLife, ModelKafka], bool]
    fault: tuple[Window, ...] = ()
    missing: str | None = None
    has_refused: bool = False
    leaves: bool | None = None
    may_repeat: bool = False
    memory_bytes_max: int = 16_777_216


def seen(name: str, count: int = 1) -> Callable[[WorkerLife, ModelKafka], bool]:
    return lambda life, _: life.watch.seen[name] >= count


def brokers_go_down(life: WorkerLife, kafka: ModelKafka) -> bool:
    if not life.watch.seen["Answered"]:
        return False
    kafka.network.take_down()
    return True


def brokers_go_down_when_all_is_answered(life: WorkerLife, kafka: ModelKafka) -> bool:
    """Take the brokers down when only the commit is left to do."""
    ledger = life.parts.pipeline._ledger
    if not life.watch.seen["Answered"] or any(
        ledger.offsets.tracker(one).unsettled for one in ledger.offsets
    ):
        return False
    kafka.network.take_down()
    return True


def brokers_went_down(life: WorkerLife, kafka: ModelKafka) -> bool:
    """The consumer is unrecoverable, its partitions are lost, and its successor finds no broker."""
    brokers_go_down(life, kafka)
    return life.watch.seen["Lost"] > 0


def is_bisecting(life: WorkerLife, _: ModelKafka) -> bool:
    return any("." in batch_id for batch_id in life.watch._sent)


def is_parking(life: WorkerLife, _: ModelKafka) -> bool:
    return life.parts.pipeline._flow.parking.waiting > 0


STATES = {
    "before anything": State(lambda life, _: True, leaves=False),
    "joining": State(lambda life, _: life.parts.source.membership.latest is not None, leaves=False),
    "connected, without partitions": State(
        lambda life, _: life.parts.source.membership.unready_reason() is None, leaves=False
    ),
    "rebuilding the window": State(seen("TailRead"), leaves=False),
    "just assigned": State(seen("Assigned")),
    "in full flight": State(seen("Post", 2), leaves=False),
    # The other rows of its batch prove that a refused row is bad, before the worker ends.
    "bisecting": State(is_bisecting, has_refused=True, leaves=False),
    "holding": State(seen("Answered", 2), fault=(Window(0, EVER, "403", 1),), leaves=True),
    "an outage": State(seen("Answered", 2), fault=(Window(0, EVER, "refused"),), leaves=True),
    "no answers": State(
        seen("Post"), fault=(Window(0, EVER, "timeout"),), leaves=True, may_repeat=True
    ),
    "no dead-letter topic": State(
        seen("DeadLettersFailed"), missing=DEAD_LETTER_TOPIC, has_refused=True, leaves=True
    ),
    "no parking topic": State(
        is_parking,
        fault=(Window(0, EVER, "403", 1),),
        missing=PARKING_TOPIC,
        memory_bytes_max=60_000,
        leaves=True,
    ),
    "brokers down": State(brokers_go_down, may_repeat=True),
    "all settled, brokers down": State(brokers_go_down_when_all_is_answered, may_repeat=True),
    "the consumer given up, brokers down": State(brokers_went_down, may_repeat=True),
}


def scenario_of(state: State) -> Scenario:
    calm = replace(
        draw(1), mood=Mood.CALM, windows=state.fault, partitions=4, latency_seconds=(0.005, 0.05)
    )
    return replace(calm, ambiguous_share=0.0, failure_share=0.0)


class History:
    """An earlier worker's deliveries, the stop, and the worker that comes after it."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.truth = Truth(commits_come_in_order=False)
        self.lives: Iterator[int] = iter(range(1, 10))

    async def play(self) -> None:
        state = self.state
        self.kafka = ModelKafka(on_commit=self._on_commit)
        for topic, count in ((TOPIC, 4), (PARKING_TOPIC, 2), (DEAD_LETTER_TOPIC, 1)):
            if topic != state.missing:
                self.kafka.add_topic(topic, count)
        healthy = replace(scenario_of(state), windows=())
        self.api = ModelApi(healthy, self.truth)
        self.publish(0, EVENTS)
        await self.run_until_settled()
        self.api = ModelApi(scenario_of(state), self.truth)
        self.publish(EVENTS, 2 * EVENTS, has_refused=state.has_refused)
        await self.stop_in_state()
        self.kafka.network.bring_up()
        if state.missing is not None:
            self.kafka.add_topic(state.missing, 1)
        self.api.heal()
        await self.run_until_settled()
        for record in self.kafka.records(DEAD_LETTER_TOPIC):
            self.truth.write(DEAD_LETTER_TOPIC, dict(record.headers))
        self.truth.check_end(may_repeat=state.may_repeat)

    def publish(self, first: int, end: int, *, has_refused: bool = False) -> None:
        self.published = end
        for number in range(first, end):
            is_valid = not (has_refused and number % 50 == 7)
            name = f"{'event' if is_valid else 'refused'}-{number}"
            value = (
                f'{{"application_id":{1 + number % 2},"profile_id":"user-{number}",'
                f'"event_name":"{name}","event_timestamp":{UNIX_SECONDS}}}'
            )
            key, partition = b"%d" % number, number % 4
            offset = self.kafka.append(TOPIC, partition, key, value.encode(), (("id", key),))
            self.truth.publish(
                TopicPartition(TOPIC, partition), offset, Published(name, is_valid, key)
            )

    async def stop_in_state(self) -> None:
        committed_before = self.committed()
        life = self.start()
        for _ in range(round(STATE_SECONDS_MAX / 0.002)):
            if self.state.is_reached(life, self.kafka):
                break
            await asyncio.sleep(0.002)
        else:
            raise AssertionError(f"the state is never reached; seen: {life.watch.seen}")
        clock = asyncio.get_running_loop().time
        began = clock()
        life.stop()
        await life.ended()
        assert clock() - began <= DRAIN_SECONDS + CLOSING_SECONDS_MAX
        assert life.finish is not None
        if self.state.leaves is not None:
            assert bool(life.finish.unsettled) == self.state.leaves
        self.check_what_is_left(life, self.committed() - committed_before)

    def check_what_is_left(self, life: WorkerLife, committed: int) -> None:
        """Check the worker's last report: exactly what the group hasn't committed is left."""
        account = life.parts.pipeline._ledger.counters.topics[TOPIC]
        is_left = account.consumed + account.skipped_settled > committed
        assert life.finish is not None
        is_reported = bool(life.finish.unsettled or life.finish.uncommitted)
        # The worker can't know of a commit whose answer was lost.
        assert is_reported == is_left or (is_reported and self.state.may_repeat)

    async def run_until_settled(self) -> None:
        """Run until everything is settled, and publish valid events meanwhile.

        Where only refused rows are left, a worker can't distinguish them from a broken API.
        """
        life = self.start()
        for turn in range(400):
            if self.lag() == 0:
                break
            if turn % 20 == 19:
                self.publish(self.published, self.published + 8)
            await asyncio.sleep(0.5)
            life.check()
        assert self.lag() == 0
        life.stop()
        await life.ended()

    def start(self) -> WorkerLife:
        number = next(self.lives)
        return WorkerLife(
            f"life-{number}",
            self.kafka,
            self.api,
            Born(number, self.state.memory_bytes_max),
            Crashes(),
        )

    def lag(self) -> int:
        ends: dict[int, int] = {}
        for record in self.kafka.records(TOPIC):
            ends[record.partition] = record.offset + 1
        positions = {
            one: self.kafka.coordinator.committed(GROUP, TopicPartition(TOPIC, one)) for one in ends
        }
        return sum(
            end - (position[0] if (position := positions[one]) is not None else 0)
            for one, end in ends.items()
        )

    def committed(self) -> int:
        positions = (
            self.kafka.coordinator.committed(GROUP, TopicPartition(TOPIC, number))
            for number in range(4)
        )
        return sum(position[0] for position in positions if position is not None)

    def _on_commit(self, _: str, __: str, positions: dict[TopicPartition, tuple[int, str]]) -> None:
        for record in (
            self.kafka.records(DEAD_LETTER_TOPIC) if DEAD_LETTER_TOPIC in self.kafka.topics else ()
        ):
            self.truth.write(DEAD_LETTER_TOPIC, dict(record.headers))
        for partition, (offset, metadata) in positions.items():
            self.truth.take_commit(partition, offset, metadata)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_stop_ends_in_time_and_loses_and_repeats_nothing(state: State) -> None:
    run(History(state).play(), seconds_max=1000)
