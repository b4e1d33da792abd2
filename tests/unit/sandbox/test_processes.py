"""How long the start of a process is waited for."""

from __future__ import annotations

from worker.sandbox.processes import SILENT_SECONDS_MAX, START_SECONDS_MAX, StartWatch

BEGAN = 1000.0


def test_a_start_has_time_as_long_as_its_log_grows() -> None:
    watch = StartWatch(BEGAN)
    step = SILENT_SECONDS_MAX - 1
    for number in range(1, int(START_SECONDS_MAX / step) + 1):
        assert watch.reason_to_give_up(BEGAN + number * step, 100 * number) is None


def test_a_start_whose_log_no_longer_grows_is_given_up() -> None:
    watch = StartWatch(BEGAN)
    assert watch.reason_to_give_up(BEGAN + 10, 100) is None
    assert watch.reason_to_give_up(BEGAN + 9 + SILENT_SECONDS_MAX, 100) is None
    assert (
        watch.reason_to_give_up(BEGAN + 10 + SILENT_SECONDS_MAX, 100)
        == "nothing new in its log for 60 s"
    )


def test_a_start_that_writes_nothing_at_all_is_given_up() -> None:
    watch = StartWatch(BEGAN)
    assert watch.reason_to_give_up(BEGAN + SILENT_SECONDS_MAX, 0) is not None


def test_a_start_that_only_writes_is_given_up_after_some_minutes() -> None:
    watch = StartWatch(BEGAN)
    reasons = [
        watch.reason_to_give_up(BEGAN + second, second)
        for second in range(int(START_SECONDS_MAX) + 1)
    ]
    assert reasons[:-1] == [None] * int(START_SECONDS_MAX)
    assert reasons[-1] == "not started after 300 s"
