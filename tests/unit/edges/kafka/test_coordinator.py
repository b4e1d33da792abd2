"""Questions to a coordinator that isn't there yet, and groups of other programs."""

from __future__ import annotations

import pytest
from aiokafka.errors import CoordinatorNotAvailableError, GroupAuthorizationFailedError

from verification.simulation import virtual_loop
from worker.edges.kafka.coordinator import (
    ATTEMPTS_MAX,
    GroupDescription,
    GroupMember,
    ask_coordinator,
)


class Coordinator:
    """Answers after this many refusals."""

    def __init__(self, refusals: int, error: type[Exception]) -> None:
        self._refusals = refusals
        self._error = error
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self.asked <= self._refusals:
            raise self._error
        return "here"


def test_a_coordinator_that_is_not_there_yet_is_asked_again() -> None:
    coordinator = Coordinator(2, CoordinatorNotAvailableError)
    answer = virtual_loop.run(ask_coordinator(coordinator.ask), seconds_max=60.0)
    assert (answer, coordinator.asked) == ("here", 3)


def test_a_coordinator_that_never_comes_is_an_error() -> None:
    coordinator = Coordinator(10_000, CoordinatorNotAvailableError)
    with pytest.raises(CoordinatorNotAvailableError):
        virtual_loop.run(ask_coordinator(coordinator.ask), seconds_max=60.0)
    assert coordinator.asked == ATTEMPTS_MAX


def test_a_refusal_is_final() -> None:
    coordinator = Coordinator(1, GroupAuthorizationFailedError)
    with pytest.raises(GroupAuthorizationFailedError):
        virtual_loop.run(ask_coordinator(coordinator.ask), seconds_max=60.0)
    assert coordinator.asked == 1


def described(protocol_type: str, assignor: str, members: int) -> GroupDescription:
    some = tuple(GroupMember(f"client-{number}", f"/10.0.0.{number}") for number in range(members))
    return GroupDescription("Stable", protocol_type, assignor, some, 0)


@pytest.mark.parametrize(
    ("description", "is_of_another"),
    [
        pytest.param(described("consumer", "roundrobin", 1), False, id="ours"),
        pytest.param(described("consumer", "", 1), False, id="in a rebalance"),
        pytest.param(described("consumer", "range", 1), True, id="another assignor"),
        pytest.param(described("connect", "", 1), True, id="a connector"),
        pytest.param(described("connect", "", 0), False, id="nobody is left"),
        pytest.param(described("", "", 0), False, id="no group"),
    ],
)
def test_a_group_of_another_program_is_noticed(
    description: GroupDescription, is_of_another: bool
) -> None:
    assert description.is_of_another_program("roundrobin") is is_of_another


def test_members_are_named_up_to_a_number() -> None:
    assert described("consumer", "range", 1).members_text() == (
        "client-0 at 10.0.0.0 (protocol consumer, assignor range)"
    )
    assert "client-4 at 10.0.0.4 and 2 more" in described("consumer", "range", 7).members_text()
