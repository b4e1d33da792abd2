"""Pressure: two marks for memory and for each span, and commands only where something changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment
from tests.searches import examples
from worker.core.model.record import Assignment
from worker.core.progress.pressure import CHUNKS_BEYOND_MAX, MemoryGauge, Reach, ReceptionControl

FIRST, SECOND = make_assignment(0), make_assignment(1)
NONE: frozenset[Assignment] = frozenset()
JUST_FIRST, JUST_SECOND = frozenset({FIRST}), frozenset({SECOND})


def reaches(spans: dict[Assignment, int], span_max: int = 10) -> dict[Assignment, Reach]:
    return {assignment: Reach(span, span_max) for assignment, span in spans.items()}


def test_memory_is_high_from_the_high_mark_down_to_half_of_it() -> None:
    gauge = MemoryGauge(100)
    for change, held, is_high in [
        (+87, 87, False),
        (+1, 88, True),
        (+62, 150, True),
        (-99, 51, True),
        (-1, 50, False),
        (+37, 87, False),
        (+1, 88, True),
        (-88, 0, False),
    ]:
        if change > 0:
            gauge.reserve(change)
        else:
            gauge.release(-change)
        assert (gauge.held_bytes, gauge.is_high) == (held, is_high)


@pytest.mark.parametrize(
    ("before", "after", "is_high"),
    [
        pytest.param(99, (), False, id="room is left"),
        pytest.param(100, (), True, id="no room is left"),
        pytest.param(98, (1,), True, id="one resumption admits one chunk"),
    ],
)
def test_where_nothing_leaves_without_new_records_memory_is_used_to_its_end(
    before: int, after: tuple[int, ...], is_high: bool
) -> None:
    gauge = MemoryGauge(100)
    gauge.reserve(before)
    gauge.resume()
    for size in after:
        gauge.reserve(size)
    assert gauge.is_high is is_high


def test_what_is_not_held_cannot_be_released() -> None:
    gauge = MemoryGauge(100)
    gauge.reserve(5)
    with pytest.raises(ValueError, match="2 bytes released that were not held"):
        gauge.release(7)


def test_a_partition_pauses_at_its_span_and_resumes_at_half_of_it() -> None:
    intakes = ReceptionControl(5)
    for span, change in [
        (9, (NONE, NONE)),
        (10, (JUST_FIRST, NONE)),
        (15, (NONE, NONE)),
        (6, (NONE, NONE)),
        (5, (NONE, JUST_FIRST)),
        (9, (NONE, NONE)),
        (10, (JUST_FIRST, NONE)),
    ]:
        assert intakes.change(reaches({FIRST: span, SECOND: 0}), stop_all=False) == change
    assert intakes.paused == {FIRST}


def test_a_span_that_has_shrunk_below_what_is_received_pauses_the_partition() -> None:
    intakes = ReceptionControl(5)
    assert intakes.change(reaches({FIRST: 9}), stop_all=False) == (NONE, NONE)
    assert intakes.change(reaches({FIRST: 9}, span_max=8), stop_all=False) == (JUST_FIRST, NONE)
    assert intakes.change(reaches({FIRST: 4}, span_max=8), stop_all=False) == (NONE, JUST_FIRST)


def test_a_stop_of_all_pauses_what_runs_and_its_end_resumes_what_is_not_wide() -> None:
    intakes = ReceptionControl(5)
    assert intakes.change(reaches({FIRST: 10, SECOND: 0}), stop_all=False) == (JUST_FIRST, NONE)
    assert intakes.change(reaches({FIRST: 10, SECOND: 0}), stop_all=True) == (JUST_SECOND, NONE)
    assert intakes.paused == {FIRST, SECOND}
    assert intakes.change(reaches({FIRST: 7, SECOND: 0}), stop_all=True) == (NONE, NONE)
    assert intakes.change(reaches({FIRST: 7, SECOND: 0}), stop_all=False) == (NONE, JUST_SECOND)
    assert intakes.change(reaches({FIRST: 5, SECOND: 0}), stop_all=False) == (NONE, JUST_FIRST)


def test_a_span_that_falls_while_all_is_stopped_is_not_forgotten() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 10}), stop_all=True)
    intakes.change(reaches({FIRST: 3}), stop_all=True)
    assert intakes.change(reaches({FIRST: 8}), stop_all=False) == (NONE, JUST_FIRST), (
        "it had fallen to the low mark"
    )


def test_a_partition_that_nothing_is_received_of_any_more_is_forgotten_without_a_word() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 10, SECOND: 10}), stop_all=False)
    assert intakes.change({FIRST: None}, stop_all=False) == (NONE, NONE)
    assert intakes.paused == intakes.over_span == JUST_SECOND
    assert intakes.change(reaches({FIRST: 6}), stop_all=False) == (NONE, NONE), "it starts anew"
    assert intakes.change({FIRST: None}, stop_all=True) == (NONE, NONE)
    assert intakes.change({}, stop_all=False) == (NONE, NONE)


def test_what_has_not_changed_is_not_looked_at_again_and_keeps_its_state() -> None:
    intakes = ReceptionControl(5)
    assert intakes.change(reaches({FIRST: 10, SECOND: 0}), stop_all=False) == (JUST_FIRST, NONE)
    assert intakes.change({}, stop_all=False) == (NONE, NONE)
    assert intakes.change(reaches({SECOND: 10}), stop_all=False) == (JUST_SECOND, NONE)
    assert intakes.change(reaches({FIRST: 0}), stop_all=False) == (NONE, JUST_FIRST)
    assert intakes.paused == {SECOND}


def test_what_has_nothing_to_do_but_to_wait_is_paused_for_as_long_as_that_is_so() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 0, SECOND: 0}), stop_all=False)
    assert intakes.change({}, resting={FIRST: True}, stop_all=False) == (JUST_FIRST, NONE)
    assert intakes.change(reaches({FIRST: 1}), stop_all=False) == (NONE, NONE)
    changed = {FIRST: False, SECOND: True}
    assert intakes.change({}, resting=changed, stop_all=False) == (JUST_SECOND, JUST_FIRST)
    assert intakes.change({}, resting={SECOND: False}, stop_all=False) == (NONE, JUST_SECOND)


def test_a_partition_over_its_span_is_received_for_one_chunk() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 10, SECOND: 10}), stop_all=False)
    intakes.admit(JUST_FIRST)
    assert intakes.change({}, stop_all=False) == (NONE, JUST_FIRST)
    intakes.receive(FIRST)
    assert intakes.change(reaches({FIRST: 15}), stop_all=False) == (JUST_FIRST, NONE)
    assert intakes.over_span == {FIRST, SECOND}


def test_a_partition_is_not_let_in_without_end() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 10 + 5 * CHUNKS_BEYOND_MAX}), stop_all=False)
    intakes.admit(JUST_FIRST)
    assert intakes.change({}, stop_all=False) == (NONE, NONE)


def test_what_is_within_its_span_or_paused_for_another_reason_is_not_received() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 10, SECOND: 1}), stop_all=True)
    intakes.admit(frozenset({FIRST, SECOND}))
    assert intakes.change({}, stop_all=True) == (NONE, NONE)
    assert intakes.change({}, stop_all=False) == (NONE, frozenset({FIRST, SECOND}))


def test_a_new_partition_is_paused_while_all_is_stopped() -> None:
    intakes = ReceptionControl(5)
    intakes.change(reaches({FIRST: 0}), stop_all=True)
    assert intakes.change(reaches({FIRST: 0, SECOND: 0}), stop_all=True) == (JUST_SECOND, NONE)


@examples(100)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from([FIRST, SECOND]), st.integers(0, 30)), st.booleans()
        ),
        max_size=20,
    )
)
def test_the_commands_add_up_to_what_is_paused(
    steps: list[tuple[dict[Assignment, int], bool]],
) -> None:
    intakes = ReceptionControl(5)
    paused: set[Assignment] = set()
    known: set[Assignment] = set()
    for spans, stop_all in steps:
        gone = dict.fromkeys(known - spans.keys())
        known = set(spans)
        pause, resume = intakes.change(reaches(spans) | gone, stop_all=stop_all)
        paused &= spans.keys()
        assert not pause & paused
        assert resume <= paused
        paused = (paused | pause) - resume
        assert intakes.paused == paused
        for assignment, span in spans.items():
            if stop_all or span >= 10:
                assert assignment in paused
            elif span <= 5:
                assert assignment not in paused
