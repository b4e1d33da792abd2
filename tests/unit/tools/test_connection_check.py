"""What is said of topics by what the brokers say of them."""

from __future__ import annotations

import pytest

from tests.unit.tools.letters import settings
from worker.edges.kafka.coordinator import GroupDescription, GroupMember
from worker.edges.kafka.topics import Operation, TopicAccess
from worker.tools.connection_check import CheckResult, judge_group, judge_topics

ALL = frozenset(Operation)
SOURCE, PARKING, DLQ = "offline-events", "offline-events.parked", "offline-events.dlq"


def standing(topic: str, access: TopicAccess, applications: int = 1) -> tuple[CheckResult, str]:
    topics = {name: TopicAccess(name, None, 4, ALL) for name in (SOURCE, PARKING, DLQ)} | {
        topic: access
    }
    found = {
        one.what.split()[-1]: one
        for one in judge_topics(settings().resolved_routes(), topics, applications)
    }
    assert found.keys() == {SOURCE, PARKING, DLQ}
    assert all(one.standing is CheckResult.OK for name, one in found.items() if name != topic)
    return found[topic].standing, found[topic].detail


@pytest.mark.parametrize("topic", [SOURCE, PARKING, DLQ])
def test_a_topic_that_is_there_and_may_be_used_is_ok(topic: str) -> None:
    assert standing(topic, TopicAccess(topic, None, 4, ALL))[0] is CheckResult.OK


@pytest.mark.parametrize("topic", [SOURCE, PARKING, DLQ])
def test_a_topic_that_is_missing_is_a_fault(topic: str) -> None:
    assert standing(topic, TopicAccess(topic, "UnknownTopicOrPartitionError", 0, None)) == (
        CheckResult.FAULT,
        "does not exist",
    )


@pytest.mark.parametrize(
    ("topic", "allowed", "lacking"),
    [
        (SOURCE, {Operation.DESCRIBE}, "READ"),
        (PARKING, {Operation.READ}, "WRITE"),
        (DLQ, {Operation.READ}, "WRITE"),
        (DLQ, {Operation.WRITE}, "READ"),
    ],
)
def test_a_right_that_is_missing_is_a_fault(
    topic: str, allowed: set[Operation], lacking: str
) -> None:
    found, detail = standing(topic, TopicAccess(topic, None, 4, frozenset(allowed)))
    assert found is CheckResult.FAULT and f"{lacking} is not granted" in detail


def test_what_the_brokers_do_not_tell_is_a_warning() -> None:
    assert standing(DLQ, TopicAccess(DLQ, None, 4, None))[0] is CheckResult.WARNING


def test_a_parking_topic_with_fewer_partitions_than_there_are_applications_is_a_warning() -> None:
    found, detail = standing(PARKING, TopicAccess(PARKING, None, 2, ALL), applications=3)
    assert found is CheckResult.WARNING and "some of 3 applications share a partition" in detail
    assert (
        standing(PARKING, TopicAccess(PARKING, None, 3, ALL), applications=3)[0] is CheckResult.OK
    )


WORKER, STRANGER = (
    GroupMember("appmetrica-worker-1a2b", "/10.0.0.1"),
    GroupMember("billing", "/10.0.0.7"),
)


def group(
    *members: GroupMember, assignor: str = "roundrobin", protocol_type: str = "consumer"
) -> tuple[CheckResult, str]:
    description = GroupDescription("Stable", protocol_type, assignor, members, 0)
    found = judge_group("group workers", description, ALL)
    return found.standing, found.detail


def test_a_group_of_nobody_or_of_workers_is_ok() -> None:
    assert group(protocol_type="", assignor="")[0] is CheckResult.OK
    assert group(WORKER)[0] is CheckResult.OK
    assert group(WORKER, assignor="")[0] is CheckResult.OK


@pytest.mark.parametrize(
    "protocol",
    [{"assignor": "range"}, {"assignor": "cooperative-sticky"}, {"protocol_type": "connect"}],
)
def test_a_group_that_another_program_holds_is_a_fault(protocol: dict[str, str]) -> None:
    standing, detail = group(STRANGER, **protocol)
    assert standing is CheckResult.FAULT
    assert "held by another program" in detail and "billing at 10.0.0.7" in detail


def test_a_stranger_that_shares_the_workers_assignor_is_a_warning() -> None:
    standing, detail = group(WORKER, STRANGER)
    assert standing is CheckResult.WARNING and "other programs are members" in detail
