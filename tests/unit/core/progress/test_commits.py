"""The rhythm of commits: once per interval, one at a time, and again after a failure."""

from __future__ import annotations

import pytest

from tests.builders import make_assignment
from worker.core.model.record import Start
from worker.core.progress.commits import Commits
from worker.core.progress.offsets import Offsets

FIRST = make_assignment()


@pytest.fixture
def offsets() -> Offsets:
    offsets = Offsets(1000, 100)
    offsets.assign(Start(FIRST, 0, None))
    return offsets


def acknowledge(commits: Commits, offsets: Offsets, at: float) -> None:
    for commit in commits.start(at):
        offsets.commit(commit.positions)
    commits.succeed()


def test_nothing_is_due_without_progress(offsets: Offsets) -> None:
    commits = Commits(offsets, 1.0)
    assert not commits.is_due(1e9)
    assert commits.next_deadline() is None


def test_the_first_progress_is_committed_at_once_and_the_next_an_interval_later(
    offsets: Offsets,
) -> None:
    commits = Commits(offsets, 1.0)
    commits.note_progress()
    assert commits.is_due(0.0)
    acknowledge(commits, offsets, 10.0)
    assert (commits.is_due(99.0), commits.next_deadline()) == (False, None)
    commits.note_progress()
    assert commits.next_deadline() == 11.0
    assert not commits.is_due(10.99)
    assert commits.is_due(11.0)


def test_never_are_two_commits_in_flight(offsets: Offsets) -> None:
    commits = Commits(offsets, 1.0)
    commits.note_progress()
    (commit,) = commits.start(0.0)
    assert set(commit.positions) == {FIRST}
    in_flight = [commits.is_in_flight]
    commits.note_progress()
    assert (commits.is_due(99.0), commits.next_deadline()) == (False, None)
    commits.succeed()
    assert [*in_flight, commits.is_in_flight] == [True, False]
    assert commits.is_due(99.0), "progress during the commit is not lost"


def test_progress_without_a_new_position_starts_no_commit(offsets: Offsets) -> None:
    commits = Commits(offsets, 1.0)
    acknowledge(commits, offsets, 0.0)
    commits.note_progress()
    assert commits.start(5.0) == []
    assert not commits.is_in_flight
    assert not commits.is_due(99.0)


def test_a_failed_commit_is_sent_again_an_interval_after_its_start(offsets: Offsets) -> None:
    commits = Commits(offsets, 1.0)
    commits.note_progress()
    (failed,) = commits.start(5.0)
    commits.fail()
    assert commits.next_deadline() == 6.0
    assert not commits.is_due(5.5)
    assert commits.is_due(6.0)
    assert commits.start(6.0) == [failed]


def test_a_commit_can_be_made_due_at_once(offsets: Offsets) -> None:
    commits = Commits(offsets, 1.0)
    commits.start(5.0)
    commits.fail()
    commits.commit_soon()
    assert commits.is_due(5.0)
