"""What the local clock is worth, by each witness."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from worker.core.model.answer import Ambiguous, NotSent, Response, TransportFault
from worker.core.model.clock import Now, Trust
from worker.core.model.command import AskTime, WriteLog
from worker.core.progress.clock_check import ASK_SECONDS, DATELESS_ANSWERS_MAX, ClockCheck

UNIX = 1_700_000_000.0
DAY = 86_400.0
HOUR = 3600.0


@dataclass
class Stage:
    """A check, the true time, and how far the local clock is ahead of it."""

    ahead: float = 0.0
    difference_seconds_max: float = HOUR
    seconds: float = 50.0
    check: ClockCheck = field(init=False)

    def __post_init__(self) -> None:
        self.check = ClockCheck(self.difference_seconds_max)

    @property
    def now(self) -> Now:
        return Now(self.seconds, UNIX + self.seconds + self.ahead)

    def trust(self) -> Trust:
        """What the clock is worth now."""
        return self.check.trust(self.now)

    def answer(self, wrong_by: float = 0.0, status: int = 200) -> None:
        """The API answers with its time, which is wrong by so much."""
        self.check.note_answer(
            Response(status, None, "", 0.1, UNIX + self.seconds + wrong_by), self.now
        )

    def look(self, *, is_waiting: bool = False) -> list[str]:
        """What it says, by name."""
        commands = self.check.look(self.now, is_waiting=is_waiting)
        return [
            command.event if isinstance(command, WriteLog) else type(command).__name__
            for command in commands
        ]


def test_before_the_api_has_answered_nobody_vouches_and_nobody_doubts() -> None:
    stage = Stage()
    assert stage.trust() is Trust.UNVOUCHED
    assert stage.look() == []


@pytest.mark.parametrize("status", [200, 400, 403, 503])
def test_any_answer_with_a_date_that_agrees_vouches(status: int) -> None:
    stage = Stage(ahead=HOUR - 1)
    stage.answer(status=status)
    assert stage.trust() is Trust.VOUCHED


@pytest.mark.parametrize("jump", [15 * DAY, -2 * DAY, HOUR + 1, -HOUR - 1])
def test_a_clock_that_jumps_is_doubted_at_once_without_a_new_answer(jump: float) -> None:
    stage = Stage()
    stage.answer()
    stage.seconds += 10 * DAY
    assert stage.trust() is Trust.VOUCHED
    stage.ahead = jump
    assert stage.trust() is Trust.DOUBTED
    assert stage.look() == ["clock_doubted", "AskTime"]
    stage.ahead = 0.0
    assert stage.trust() is Trust.VOUCHED
    assert stage.look() == ["clock_vouched"]


def test_a_clock_that_was_wrong_from_the_start_is_doubted_after_two_answers_that_say_the_same() -> (
    None
):
    stage = Stage(ahead=15 * DAY)
    stage.answer()
    assert stage.trust() is Trust.UNVOUCHED
    assert stage.look() == ["AskTime"]
    stage.seconds += 1
    stage.answer()
    assert stage.trust() is Trust.DOUBTED


def test_a_single_wrong_date_changes_nothing() -> None:
    stage = Stage()
    for wrong_by in (0.0, -5 * DAY, 0.0, 7 * DAY, -9 * DAY, 0.0):
        stage.answer(wrong_by)
        assert stage.trust() is Trust.VOUCHED
        stage.seconds += 1


def test_a_machine_that_slept_is_doubted_until_an_answer_agrees_with_its_clock() -> None:
    stage = Stage()
    stage.answer()
    # The monotonic clock stops in the meantime: the world's time goes on, and so does the
    # wall clock.
    slept = 3 * DAY
    stage.ahead = slept
    assert stage.trust() is Trust.DOUBTED
    stage.answer(slept)
    assert stage.trust() is Trust.VOUCHED


def test_faults_without_an_answer_say_nothing_of_the_time() -> None:
    stage = Stage()
    for answer in (
        Ambiguous(TransportFault.TIMEOUT, 1.0),
        NotSent(TransportFault.CONNECT_FAILED, 1.0),
    ):
        for _ in range(DATELESS_ANSWERS_MAX):
            stage.check.note_answer(answer, stage.now)
    assert stage.trust() is Trust.UNVOUCHED


def test_an_api_that_never_sends_a_date_leaves_the_clock_to_itself() -> None:
    stage = Stage()
    for _ in range(DATELESS_ANSWERS_MAX):
        assert stage.trust() is Trust.UNVOUCHED
        stage.look()
        stage.check.note_answer(Response(200, None, "", 0.1), stage.now)
    assert stage.trust() is Trust.VOUCHED
    assert stage.look() == ["clock_has_no_witness"]


def test_records_ahead_of_the_clock_raise_doubts_only_until_the_api_has_answered() -> None:
    stage = Stage(ahead=-2 * DAY)
    stage.check.note_record(int((UNIX + stage.seconds) * 1000), stage.now)
    assert stage.trust() is Trust.DOUBTED
    stage.ahead = 0.0
    # A producer's clock, this time.
    stage.check.note_record(int((UNIX + stage.seconds + 2 * DAY) * 1000), stage.now)
    assert stage.trust() is Trust.DOUBTED
    stage.answer()
    assert stage.trust() is Trust.VOUCHED
    stage.check.note_record(int((UNIX + stage.seconds + 2 * DAY) * 1000), stage.now)
    assert stage.trust() is Trust.VOUCHED


def test_records_of_long_ago_are_a_backlog_and_no_witness() -> None:
    stage = Stage()
    stage.check.note_record(int((UNIX - 20 * DAY) * 1000), stage.now)
    assert stage.trust() is Trust.UNVOUCHED


def test_it_asks_again_and_again_one_at_a_time_while_it_matters_and_no_longer() -> None:
    stage = Stage()
    assert stage.look(is_waiting=True) == ["AskTime"]
    stage.seconds += 10 * ASK_SECONDS
    assert stage.check.next_deadline() is None
    assert stage.look(is_waiting=True) == []
    stage.check.note_api_time(NotSent(TransportFault.CONNECT_FAILED, 1.0), stage.now)
    assert stage.look(is_waiting=True) == ["AskTime"]
    stage.check.note_api_time(NotSent(TransportFault.CONNECT_FAILED, 1.0), stage.now)
    assert stage.look(is_waiting=True) == []
    assert stage.check.next_deadline() == stage.seconds + ASK_SECONDS
    stage.answer()
    assert stage.look() == ["clock_vouched"]
    assert stage.check.next_deadline() is None


def test_a_clock_that_is_set_as_right_is_never_doubted() -> None:
    stage = Stage(ahead=15 * DAY, difference_seconds_max=0)
    for _ in range(3):
        stage.answer()
    assert stage.trust() is Trust.VOUCHED
    assert stage.look() == []


def test_the_best_guess_is_the_time_of_the_api() -> None:
    stage = Stage(ahead=15 * DAY)
    assert stage.check.best_guess(stage.now) == stage.now
    stage.answer()
    stage.answer()
    assert stage.check.best_guess(stage.now) == Now(stage.seconds, UNIX + stage.seconds)
    stage.ahead = 0.0
    assert stage.check.best_guess(stage.now) == stage.now
    assert stage.check.status(stage.now).seconds_ahead == 0.0


def test_a_date_is_no_better_than_a_local_clock_that_is_nearly_the_same() -> None:
    """Its whole seconds would shift times by up to a second: records would seem to be ahead."""
    stage = Stage(ahead=0.9)
    stage.answer()
    assert stage.check.best_guess(stage.now) == stage.now
    stage.ahead = 2.5
    assert stage.check.best_guess(stage.now).unix_seconds == stage.now.unix_seconds - 2.5


def test_while_the_time_is_wanted_the_api_is_asked_until_it_has_answered() -> None:
    stage = Stage()
    assert stage.look() == []
    stage.check.want()
    assert stage.look() == ["AskTime"]
    stage.check.note_api_time(NotSent(TransportFault.CONNECT_FAILED, 0.1), stage.now)
    stage.seconds += ASK_SECONDS
    assert stage.look() == ["AskTime"]
    stage.check.note_api_time(Response(404, None, "", 0.1, UNIX + stage.seconds), stage.now)
    assert stage.look() == ["clock_vouched"]
    assert stage.look() == []
    assert stage.check.next_deadline() is None


def test_asking_is_a_command_of_its_own() -> None:
    assert AskTime() in Stage().check.look(Stage().now, is_waiting=True)
