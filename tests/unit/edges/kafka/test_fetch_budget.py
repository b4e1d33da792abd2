"""The bound of what is fetched ahead: what is put off, what is thrown away, what begins again."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.structs import TopicPartition as ClientPartition

from worker.edges.kafka.fetch_budget import FetchBudget

PARTITIONS = [ClientPartition("t", number) for number in range(4)]
FIRST, SECOND, THIRD, FOURTH = PARTITIONS


class Consumer:
    """Which partitions are paused in the client, and where it was sent."""

    def __init__(self) -> None:
        self.flags: set[ClientPartition] = set()
        self.sought: dict[ClientPartition, int] = {}

    def assignment(self) -> set[ClientPartition]:
        return set(PARTITIONS)

    def paused(self) -> set[ClientPartition]:
        return set(self.flags)

    def pause(self, *partitions: ClientPartition) -> None:
        self.flags |= set(partitions)

    def resume(self, *partitions: ClientPartition) -> None:
        self.flags -= set(partitions)

    def seek(self, partition: ClientPartition, offset: int) -> None:
        self.sought[partition] = offset


class Fetched:
    """How much waits of each partition."""

    def __init__(self) -> None:
        self.held: dict[ClientPartition, int] = {}

    def sizes(self) -> Mapping[ClientPartition, int]:
        return dict(self.held)


class Budget:
    """A budget of 100 bytes for four partitions."""

    def __init__(self) -> None:
        self.consumer, self.fetched = Consumer(), Fetched()
        self.budget = FetchBudget(self.consumer, self.fetched, 100)  # type: ignore[arg-type]
        self.budget.begin(set(PARTITIONS))

    def balance(self, *resting: ClientPartition, **held: int) -> set[ClientPartition]:
        """The partitions that are put off then."""
        self.fetched.held = {PARTITIONS[int(name[1:])]: size for name, size in held.items()}
        self.budget.balance(dict.fromkeys(PARTITIONS, 7), set(resting))
        return self.consumer.flags


def test_within_the_bound_everything_is_fetched() -> None:
    assert Budget().balance(p0=60, p1=40) == set()


def test_beyond_the_bound_nothing_is_fetched_of_the_others_until_half_of_it_is_received() -> None:
    budget = Budget()
    assert budget.balance(p0=60, p1=60) == {THIRD, FOURTH}
    assert budget.balance(p0=60) == {THIRD, FOURTH}
    assert budget.budget.puts_off(THIRD)
    assert budget.balance(p0=50) == set()


def test_resting_partitions_make_room_first_and_are_fetched_again_from_their_position() -> None:
    budget = Budget()
    assert budget.balance(SECOND, p0=40, p1=70) == {SECOND}
    assert budget.consumer.sought == {SECOND: 7}
    assert budget.balance(p0=40) == set()


def test_while_nothing_is_received_nothing_is_fetched() -> None:
    budget = Budget()
    budget.budget.rest(PARTITIONS)
    assert budget.consumer.flags == set(PARTITIONS)


def test_flags_that_vanished_in_a_rebalance_are_noticed() -> None:
    budget = Budget()
    budget.budget.rest(PARTITIONS)
    budget.consumer.flags.clear()
    budget.budget.begin(set(PARTITIONS))
    assert not budget.budget.puts_off(FIRST)
    budget.budget.rest(PARTITIONS)
    assert budget.consumer.flags == set(PARTITIONS)
