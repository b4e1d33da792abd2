"""Suspects: a batch that fails while others are accepted is halved, and in the end given up.

A batch that fails with all others is not.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.builders import make_batch, make_destination
from worker.core.delivery.request_history import RequestHistory
from worker.core.delivery.settlement import halves
from worker.core.delivery.suspects import LONE_FAILURES_MIN, Decision, Failure, Suspects
from worker.core.model.batch import Batch

RETRIES = 200


class Requests:
    """Suspects, and requests that take no time."""

    def __init__(self) -> None:
        self.history = RequestHistory()
        self.suspects = Suspects()
        self.numbers = 1000

    def fail(self, batch: Batch, failure: Failure = Failure.FAILED) -> Decision:
        self.history.start(batch)
        return self.end_failed(batch, failure)

    def end_failed(self, batch: Batch, failure: Failure) -> Decision:
        request = self.history.end(batch.id)
        assessment = self.suspects.fail(batch, failure, request, self.history)
        if assessment.counts_against_others:
            self.history.fail(batch.destination.application_id)
        return assessment.decision

    def take(
        self,
        count: int = 1,
        rows: int = 1,
        application_id: int = 1111,
        resource: str = "events",
    ) -> None:
        """Others are taken."""
        for _ in range(count):
            self.numbers += 1
            batch = make_batch(
                rows,
                batch_id=f"other-{self.numbers}",
                start=self.numbers,
                destination=make_destination(application_id)._replace(resource=resource),
            )
            self.history.start(batch)
            self.history.accept(batch, self.history.end(batch.id))
            self.suspects.accept(batch)

    def tries_until_given_up(self, batch: Batch, taken: int, failed: int = 0) -> int:
        """Between any two tries of this row this many others are accepted, and this many fail."""
        for tries in range(1, RETRIES):
            if self.fail(batch) is Decision.GIVE_UP:
                return tries
            self.take(taken)
            for _ in range(failed):
                self.numbers += 1
                self.fail(make_batch(1, batch_id=f"failed-{self.numbers}"))
        return RETRIES


@pytest.mark.parametrize("failure", [Failure.FAILED, Failure.NEUTRAL])
@pytest.mark.parametrize("rows", [1, 8])
def test_while_nothing_is_accepted_no_batch_is_suspect(failure: Failure, rows: int) -> None:
    requests, batch = Requests(), make_batch(rows)
    assert {requests.fail(batch, failure) for _ in range(RETRIES)} == {Decision.RETRY}
    assert not requests.suspects.is_suspect(batch.id)


def test_what_was_accepted_of_another_application_blames_no_batch() -> None:
    requests, batch = Requests(), make_batch(8)
    for _ in range(RETRIES):
        assert requests.fail(batch) is Decision.RETRY
        requests.take(application_id=2222)


def test_a_batch_that_fails_again_while_others_succeed_is_halved_and_its_pieces_at_once() -> None:
    requests, batch = Requests(), make_batch(8)
    assert requests.fail(batch) is Decision.RETRY
    requests.take()
    assert requests.fail(batch) is Decision.HALVE
    good, bad = halves(batch)
    requests.suspects.halve(batch.id, good, bad)
    assert requests.suspects.is_suspect(bad.id)
    requests.history.start(good)
    requests.history.accept(good, requests.history.end(good.id))
    assert requests.fail(bad) is Decision.HALVE


def test_a_passing_fault_that_says_nothing_of_rows_is_no_reason_to_halve() -> None:
    requests, batch = Requests(), make_batch(8)
    for _ in range(RETRIES):
        assert requests.fail(batch, Failure.NEUTRAL) is Decision.RETRY
        requests.take()


@pytest.mark.parametrize(("taken", "tries"), [(1000, LONE_FAILURES_MIN + 1), (10, 7), (1, 10)])
def test_a_row_is_given_up_after_so_many_tries_each_between_successes_of_others(
    taken: int, tries: int
) -> None:
    assert Requests().tries_until_given_up(make_batch(1), taken) == tries


def test_tries_without_a_success_in_between_do_not_count() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.take(1000)
    for _ in range(LONE_FAILURES_MIN):
        requests.fail(batch)
        requests.take(1000)
    for _ in range(RETRIES):
        requests.fail(batch)
    assert requests.suspects.lone_failures(batch.id) == LONE_FAILURES_MIN


@pytest.mark.parametrize(("taken", "failed", "tries_min"), [(2, 1, 15), (1, 1, 25)])
def test_where_others_fail_as_well_more_tries_are_needed(
    taken: int, failed: int, tries_min: int
) -> None:
    assert tries_min <= Requests().tries_until_given_up(make_batch(1), taken, failed) < RETRIES


def test_a_request_that_was_under_way_at_the_failure_is_no_success_of_others() -> None:
    requests, batch, early = Requests(), make_batch(1), make_batch(1, batch_id="early", start=5)
    requests.history.start(early)
    requests.fail(batch)
    requests.history.accept(early, requests.history.end(early.id))
    requests.fail(batch)
    assert requests.suspects.lone_failures(batch.id) == 0


def test_chance_gives_no_row_up() -> None:
    """Every third request fails, whatever is in it: of 20,000 rows none is given up."""
    requests, chance = Requests(), Random(1)
    for number in range(20_000):
        batch = make_batch(1, batch_id=f"row-{number}", start=number)
        while chance.random() < 0.33:
            assert requests.fail(batch) is Decision.RETRY
            requests.take()
        requests.history.start(batch)
        requests.history.accept(batch, requests.history.end(batch.id))
        requests.suspects.accept(batch)


def test_a_time_out_while_others_as_large_are_taken_halves_at_once() -> None:
    requests, batch = Requests(), make_batch(8)
    requests.history.start(batch)
    requests.take(rows=8)
    assert requests.end_failed(batch, Failure.TIMED_OUT) is Decision.HALVE


def test_a_time_out_while_only_smaller_ones_are_taken_slows_the_lane_down() -> None:
    requests, batch = Requests(), make_batch(8)
    requests.history.start(batch)
    requests.take(rows=1)
    assert requests.end_failed(batch, Failure.TIMED_OUT) is Decision.RETRY_SMALLER


def test_a_row_that_times_out_alone_while_others_are_accepted_slows_no_lane_down() -> None:
    requests, batch = Requests(), make_batch(1)
    requests.take()
    assert requests.fail(batch, Failure.TIMED_OUT) is Decision.RETRY_SMALLER
    requests.take()
    assert requests.fail(batch, Failure.TIMED_OUT) is Decision.RETRY


def test_a_row_that_times_out_is_alone_while_only_other_resources_are_accepted() -> None:
    requests, row = Requests(), make_batch(1)
    requests.fail(row, Failure.TIMED_OUT)
    requests.take(resource="revenue")
    requests.fail(row, Failure.TIMED_OUT)
    assert requests.suspects.is_alone(row.id)
    requests.take()
    requests.fail(row, Failure.TIMED_OUT)
    assert not requests.suspects.is_alone(row.id)


def test_a_fault_of_an_application_is_general_after_several_failures_until_an_acceptance() -> None:
    requests = Requests()
    for number in range(4):
        requests.fail(make_batch(1, batch_id=f"b{number}"))
        assert not requests.suspects.is_general(1111)
    requests.fail(make_batch(1, batch_id="last"))
    assert requests.suspects.is_general(1111)
    requests.take()
    assert not requests.suspects.is_general(1111)


def test_a_successor_is_as_suspect_but_has_no_lone_failures() -> None:
    requests, batch = Requests(), make_batch(1)
    for _ in range(3):
        requests.fail(batch)
        requests.take()
    successor = make_batch(1, batch_id="successor")
    requests.suspects.replace(batch.id, successor)
    assert (
        requests.suspects.is_suspect(successor.id),
        requests.suspects.lone_failures(successor.id),
    ) == (
        True,
        0,
    )
    assert requests.suspects.failures(successor.id) == 3
    assert not requests.suspects.is_suspect(batch.id)
