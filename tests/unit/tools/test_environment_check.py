"""The checks of topics, group and memory."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from tests.unit.tools.stored import settings
from worker.core.intake.pass_choice import PassForm
from worker.edges.kafka.coordinator import GroupDescription, GroupMember
from worker.edges.kafka.topics import Operation, TopicAccess
from worker.tools.environment_check import (
    MEBIBYTE,
    CheckResult,
    check_fast_pass,
    check_group,
    check_memory,
    check_topics,
    memory_needed_bytes,
)

ALL = frozenset(Operation)
SOURCE, PARKING, DLQ = "offline-events", "offline-events.parked", "offline-events.dlq"


def result(topic: str, access: TopicAccess, applications: int = 1) -> tuple[CheckResult, str]:
    topics = {name: TopicAccess(name, None, 4, ALL) for name in (SOURCE, PARKING, DLQ)} | {
        topic: access
    }
    found = {
        check.subject.split()[-1]: check
        for check in check_topics(settings().resolved_routes(), topics, applications)
    }
    assert found.keys() == {SOURCE, PARKING, DLQ}
    assert all(check.result is CheckResult.OK for name, check in found.items() if name != topic)
    return found[topic].result, found[topic].detail


@pytest.mark.parametrize("topic", [SOURCE, PARKING, DLQ])
def test_a_topic_that_exists_and_may_be_used_is_ok(topic: str) -> None:
    assert result(topic, TopicAccess(topic, None, 4, ALL))[0] is CheckResult.OK


@pytest.mark.parametrize("topic", [SOURCE, PARKING, DLQ])
def test_a_topic_that_is_missing_is_a_fault(topic: str) -> None:
    assert result(topic, TopicAccess(topic, "UnknownTopicOrPartitionError", 0, None)) == (
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
def test_a_missing_permission_is_a_fault(topic: str, allowed: set[Operation], lacking: str) -> None:
    found, detail = result(topic, TopicAccess(topic, None, 4, frozenset(allowed)))
    assert found is CheckResult.FAULT and f"{lacking} is not granted" in detail


def test_an_unknown_permission_is_a_warning() -> None:
    assert result(DLQ, TopicAccess(DLQ, None, 4, None))[0] is CheckResult.WARNING


def test_a_parking_topic_with_fewer_partitions_than_there_are_applications_is_a_warning() -> None:
    found, detail = result(PARKING, TopicAccess(PARKING, None, 2, ALL), applications=3)
    assert found is CheckResult.WARNING and "some of 3 applications share a partition" in detail
    assert result(PARKING, TopicAccess(PARKING, None, 3, ALL), applications=3)[0] is CheckResult.OK


WORKER, STRANGER = (
    GroupMember("appmetrica-worker-1a2b", "/10.0.0.1"),
    GroupMember("billing", "/10.0.0.7"),
)


def group(
    *members: GroupMember, assignor: str = "roundrobin", protocol_type: str = "consumer"
) -> tuple[CheckResult, str]:
    description = GroupDescription("Stable", protocol_type, assignor, members, 0)
    found = check_group("group workers", description, ALL)
    return found.result, found.detail


def test_an_empty_group_and_a_group_of_workers_are_ok() -> None:
    assert group(protocol_type="", assignor="")[0] is CheckResult.OK
    assert group(WORKER)[0] is CheckResult.OK
    assert group(WORKER, assignor="")[0] is CheckResult.OK


@pytest.mark.parametrize(
    "protocol",
    [{"assignor": "range"}, {"assignor": "cooperative-sticky"}, {"protocol_type": "connect"}],
)
def test_a_group_of_another_program_is_a_fault(protocol: dict[str, str]) -> None:
    result, detail = group(STRANGER, **protocol)
    assert result is CheckResult.FAULT
    assert "used by another program" in detail and "billing at 10.0.0.7" in detail


def test_a_stranger_that_shares_the_workers_assignor_is_a_warning() -> None:
    result, detail = group(WORKER, STRANGER)
    assert result is CheckResult.WARNING and "other programs are members" in detail


def _needed_bytes(**changes: object) -> int:
    """The memory needed by 100 MiB of records, a MiB of keys, and sixteen requests of 2 MiB."""
    some = {
        "limits__memory_bytes_max": 100 * MEBIBYTE,
        "dedup__window_rows_max": MEBIBYTE,
        "delivery__requests_in_flight_max": 16,
        "batching__body_bytes_max": 2 * MEBIBYTE,
    } | changes
    return memory_needed_bytes(settings(**{name: str(value) for name, value in some.items()}))


def test_memory_is_needed_for_records_requests_keys_and_the_process() -> None:
    assert _needed_bytes() == (100 + 16 * 2 + 5 + 128 + 96) * MEBIBYTE


def test_memory_is_the_same_for_any_number_of_routes() -> None:
    assert _needed_bytes(routes="[{topic: a}, {topic: b}, {topic: c}]") == _needed_bytes()


def test_memory_is_needed_for_the_largest_body_of_any_route() -> None:
    routes = "[{topic: a, batching: {body_bytes_max: 3145728}}, {topic: b}]"
    assert _needed_bytes(routes=routes) == _needed_bytes() + 16 * MEBIBYTE
    routes = "[{topic: a, batching: {body_bytes_max: 1048576}}]"
    assert _needed_bytes(routes=routes) == _needed_bytes() - 16 * MEBIBYTE


def test_bodies_need_no_more_memory_than_their_rows() -> None:
    many = _needed_bytes(delivery__requests_in_flight_max=256)
    assert many == (100 + 100 + 80 + 128 + 96) * MEBIBYTE


def test_a_query_string_needs_its_own_maximum() -> None:
    params = _needed_bytes(delivery__request="params", delivery__query_bytes_max=MEBIBYTE)
    assert params == _needed_bytes() - 16 * MEBIBYTE


def test_the_defaults_fit_the_limit_of_the_chart() -> None:
    assert check_memory(settings(), 640 * MEBIBYTE).result is CheckResult.OK


@pytest.mark.parametrize(
    ("limit", "result"),
    [(None, CheckResult.OK), (0, CheckResult.OK), (-1, CheckResult.WARNING)],
    ids=["none", "just", "too little"],
)
def test_a_limit_below_the_need_is_a_warning(limit: int | None, result: CheckResult) -> None:
    some = settings()
    assert (
        check_memory(some, None if limit is None else memory_needed_bytes(some) + limit).result
        is result
    )


def test_a_memory_warning_names_the_parts_and_the_remedy() -> None:
    found = check_memory(settings(), 256 * MEBIBYTE)
    assert (found.subject, found.result) == ("memory", CheckResult.WARNING)
    for part in (
        "at most 541 MiB",
        "allows 256 MiB",
        "limits.memory_bytes_max 256 MiB",
        "66 MiB for requests (delivery.requests_in_flight_max 8, bodies of at most 8 MiB)",
        "1,000,000 of 128 B",
        "raise the container's limit",
    ):
        assert part in found.detail


FOREIGN = "compiled_pass.cpython-39-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("form", "files", "is_warned"),
    [
        pytest.param(PassForm.PYTHON, [FOREIGN], True, id="of another interpreter"),
        pytest.param(PassForm.PYTHON, ["compiled_pass.pyx"], False, id="not compiled"),
        pytest.param(PassForm.COMPILED, [FOREIGN], False, id="beside the file that is used"),
    ],
)
def test_a_compiled_pass_that_is_not_used_is_warned_of(
    tmp_path: Path, form: PassForm, files: list[str], is_warned: bool
) -> None:
    for name in files:
        (tmp_path / name).touch()
    check = check_fast_pass(form, tmp_path)
    assert (check.result is CheckResult.WARNING) is is_warned
    assert (FOREIGN in check.detail) is is_warned
    assert (EXTENSION_SUFFIXES[0] in check.detail) is is_warned
