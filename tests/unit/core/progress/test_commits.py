"""The rhythm of commits: once an interval, one at a time, and again after a failure."""

from __future__ import annotations

from worker.core.progress.commits import Commits


def test_nothing_is_due_without_news() -> None:
    commits = Commits(1.0)
    assert not commits.is_due(1e9)
    assert commits.next_deadline() is None


def test_the_first_news_is_committed_at_once_and_the_next_an_interval_later() -> None:
    commits = Commits(1.0)
    commits.note_progress()
    assert commits.is_due(0.0)
    commits.start(10.0, has_positions=True)
    commits.end(is_committed=True)
    assert (commits.is_due(99.0), commits.next_deadline()) == (False, None)
    commits.note_progress()
    assert commits.next_deadline() == 11.0
    assert not commits.is_due(10.99)
    assert commits.is_due(11.0)


def test_never_are_two_commits_under_way() -> None:
    commits = Commits(1.0)
    commits.note_progress()
    commits.start(0.0, has_positions=True)
    under_way = [commits.is_in_flight]
    commits.note_progress()
    assert (commits.is_due(99.0), commits.next_deadline()) == (False, None)
    commits.end(is_committed=True)
    assert [*under_way, commits.is_in_flight] == [True, False]
    assert commits.is_due(99.0), "news that came meanwhile is not lost"


def test_news_without_a_new_position_starts_no_commit() -> None:
    commits = Commits(1.0)
    commits.note_progress()
    commits.start(0.0, has_positions=False)
    assert not commits.is_in_flight
    assert not commits.is_due(99.0)


def test_a_failed_commit_is_tried_again_an_interval_after_it_started() -> None:
    commits = Commits(1.0)
    commits.note_progress()
    commits.start(5.0, has_positions=True)
    commits.end(is_committed=False)
    assert commits.next_deadline() == 6.0
    assert not commits.is_due(5.5)
    assert commits.is_due(6.0)
