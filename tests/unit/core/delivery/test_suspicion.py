"""Suspicion: who fails while others are taken is halved, and in the end given up; who fails with
all others is not.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.builders import make_batch, make_destination
from worker.core.delivery.evidence import Evidence
from worker.core.delivery.split import halves
from worker.core.delivery.suspicion import STRIKES_MIN, Decision, Failure, Suspicions
from worker.core.model.batch import Batch

RETRIES = 200


class Court:
    """Suspicions, and requests that take no time."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        self.suspicions = Suspicions(self.evidence)
        self.numbers = 1000

    def fail(self, batch: Batch, failure: Failure = Failure.FAILED) -> Decision:
        self.evidence.start(batch)
        return self.suspicions.fail(batch, failure, self.evidence.end(batch.id))

    def take(self, count: int = 1, rows: int = 1, application_id: int = 1111) -> None:
        """Others are taken."""
        for _ in range(count):
            self.numbers += 1
            batch = make_batch(
                rows,
                batch_id=f"other-{self.numbers}",
                start=self.numbers,
                destination=make_destination(application_id),
            )
            self.evidence.start(batch)
            self.evidence.accept(batch, self.evidence.end(batch.id))
            self.suspicions.accept(batch)

    def tries_until_given_up(self, batch: Batch, taken: int, failed: int = 0) -> int:
        """Between any two tries of this row so many others are taken, and so many fail."""
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
def test_while_nothing_is_taken_nobody_is_suspect(failure: Failure, rows: int) -> None:
    court, batch = Court(), make_batch(rows)
    assert {court.fail(batch, failure) for _ in range(RETRIES)} == {Decision.RETRY}
    assert not court.suspicions.is_suspect(batch.id)


def test_what_was_taken_of_another_application_blames_nobody() -> None:
    court, batch = Court(), make_batch(8)
    for _ in range(RETRIES):
        assert court.fail(batch) is Decision.RETRY
        court.take(application_id=2222)


def test_a_batch_that_fails_again_while_others_are_taken_is_halved_and_its_pieces_at_once() -> None:
    court, batch = Court(), make_batch(8)
    assert court.fail(batch) is Decision.RETRY
    court.take()
    assert court.fail(batch) is Decision.HALVE
    good, bad = halves(batch)
    court.suspicions.halve(batch.id, good, bad)
    assert court.suspicions.is_suspect(bad.id)
    court.evidence.start(good)
    court.evidence.accept(good, court.evidence.end(good.id))
    assert court.fail(bad) is Decision.HALVE


def test_a_passing_fault_that_says_nothing_of_rows_is_no_reason_to_halve() -> None:
    court, batch = Court(), make_batch(8)
    for _ in range(RETRIES):
        assert court.fail(batch, Failure.NEUTRAL) is Decision.RETRY
        court.take()


@pytest.mark.parametrize(("taken", "tries"), [(1000, STRIKES_MIN + 1), (10, 7), (1, 10)])
def test_a_row_is_given_up_after_so_many_tries_each_between_successes_of_others(
    taken: int, tries: int
) -> None:
    assert Court().tries_until_given_up(make_batch(1), taken) == tries


def test_tries_without_a_success_in_between_do_not_count() -> None:
    court, batch = Court(), make_batch(1)
    court.take(1000)
    for _ in range(STRIKES_MIN):
        court.fail(batch)
        court.take(1000)
    for _ in range(RETRIES):
        court.fail(batch)
    assert court.suspicions.strikes(batch.id) == STRIKES_MIN


@pytest.mark.parametrize(("taken", "failed", "tries_min"), [(2, 1, 15), (1, 1, 25)])
def test_where_others_fail_as_well_more_tries_are_needed(
    taken: int, failed: int, tries_min: int
) -> None:
    assert tries_min <= Court().tries_until_given_up(make_batch(1), taken, failed) < RETRIES


def test_a_request_that_was_under_way_at_the_failure_is_no_success_of_others() -> None:
    court, batch, early = Court(), make_batch(1), make_batch(1, batch_id="early", start=5)
    court.evidence.start(early)
    court.fail(batch)
    court.evidence.accept(early, court.evidence.end(early.id))
    court.fail(batch)
    assert court.suspicions.strikes(batch.id) == 0


def test_chance_gives_nobody_up() -> None:
    """Every third request fails, whatever is in it: of 20,000 rows none is given up."""
    court, chance = Court(), Random(1)
    for number in range(20_000):
        batch = make_batch(1, batch_id=f"row-{number}", start=number)
        while chance.random() < 0.33:
            assert court.fail(batch) is Decision.RETRY
            court.take()
        court.evidence.start(batch)
        court.evidence.accept(batch, court.evidence.end(batch.id))
        court.suspicions.accept(batch)


def test_a_time_out_while_others_as_large_are_taken_halves_at_once() -> None:
    court, batch = Court(), make_batch(8)
    court.evidence.start(batch)
    court.take(rows=8)
    assert (
        court.suspicions.fail(batch, Failure.TIMED_OUT, court.evidence.end(batch.id))
        is Decision.HALVE
    )


def test_a_time_out_while_only_smaller_ones_are_taken_slows_the_lane_down() -> None:
    court, batch = Court(), make_batch(8)
    court.evidence.start(batch)
    court.take(rows=1)
    assert (
        court.suspicions.fail(batch, Failure.TIMED_OUT, court.evidence.end(batch.id))
        is Decision.RETRY_SMALLER
    )


def test_a_row_that_times_out_alone_while_others_are_taken_slows_nobody_down() -> None:
    court, batch = Court(), make_batch(1)
    court.take()
    assert court.fail(batch, Failure.TIMED_OUT) is Decision.RETRY_SMALLER
    court.take()
    assert court.fail(batch, Failure.TIMED_OUT) is Decision.RETRY


def test_a_fault_of_an_application_is_general_after_several_failures_until_an_acceptance() -> None:
    court = Court()
    for number in range(4):
        court.fail(make_batch(1, batch_id=f"b{number}"))
        assert not court.suspicions.is_general(1111)
    court.fail(make_batch(1, batch_id="last"))
    assert court.suspicions.is_general(1111)
    court.take()
    assert not court.suspicions.is_general(1111)


def test_a_successor_is_as_suspect_but_has_no_strikes() -> None:
    court, batch = Court(), make_batch(1)
    for _ in range(3):
        court.fail(batch)
        court.take()
    successor = make_batch(1, batch_id="heir")
    court.suspicions.replace(batch.id, successor)
    assert (court.suspicions.is_suspect(successor.id), court.suspicions.strikes(successor.id)) == (
        True,
        0,
    )
    assert court.suspicions.failures(successor.id) == 3
    assert not court.suspicions.is_suspect(batch.id)
