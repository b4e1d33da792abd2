"""The memory of delivered keys: never more than its bounds, and what it promises inside them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.dedup.budget import KeyBudget
from worker.core.dedup.generations import GENERATIONS, Generations


def key(number: int) -> bytes:
    return b"%d" % number


def filled(
    count: int, *, rows_max: int = 80, age_seconds: float = 1e9, step_seconds: float = 0.0
) -> Generations:
    generations = Generations(KeyBudget(1_000_000), rows_max=rows_max, age_seconds=age_seconds)
    for number in range(count):
        generations.add(key(number), number * step_seconds)
    return generations


def remembered(generations: Generations, count: int) -> list[int]:
    return [number for number in range(count) if key(number) in generations]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 80, 81, 90, 91, 200])
def test_at_least_seven_eighths_of_the_last_rows_are_remembered_and_never_more_than_all(
    count: int,
) -> None:
    generations = filled(count)
    known = remembered(generations, count)
    assert len(generations) == len(known) <= 80
    assert known == list(range(count - len(known), count)), "the newest are those that stay"
    assert len(known) >= min(count, 70)


@pytest.mark.parametrize("age_seconds", [8.0, 80.0])
def test_a_key_lives_for_seven_eighths_of_the_age_and_never_longer_than_it(
    age_seconds: float,
) -> None:
    generations = Generations(KeyBudget(1_000_000), rows_max=8_000, age_seconds=age_seconds)
    for step in range(200):
        now = step * age_seconds / 32
        generations.add(key(step), now)
        generations.forget(now)
        for number in remembered(generations, step + 1):
            assert (step - number) * age_seconds / 32 < age_seconds
        for number in range(max(0, step - 27), step + 1):
            assert key(number) in generations


def test_forgetting_lets_go_of_whole_generations_from_the_oldest_on() -> None:
    generations = filled(16, rows_max=8_000, age_seconds=80.0, step_seconds=5.0)
    generations.forget(80.0)
    assert remembered(generations, 16) == list(range(2, 16))
    generations.forget(1e6)
    assert (len(generations), remembered(generations, 16)) == (0, [])
    generations.add(b"again", 1e6)
    assert b"again" in generations


def test_a_key_added_twice_is_remembered_by_its_last_time() -> None:
    generations = Generations(KeyBudget(1_000_000), rows_max=80, age_seconds=80.0)
    generations.add(b"k", 0.0)
    generations.add(b"k", 50.0)
    generations.forget(100.0)
    assert b"k" in generations


@pytest.mark.parametrize("rows_max", [0, 1, GENERATIONS - 1])
def test_a_bound_below_one_row_per_generation_is_refused(rows_max: int) -> None:
    with pytest.raises(ValueError, match=f"at least {GENERATIONS}, not {rows_max}"):
        Generations(KeyBudget(1_000_000), rows_max=rows_max, age_seconds=1.0)


@settings(deadline=None, max_examples=100)
@given(st.integers(8, 100), st.lists(st.floats(0, 20), max_size=150))
def test_no_history_of_additions_breaks_either_bound(rows_max: int, waits: list[float]) -> None:
    generations = Generations(KeyBudget(1_000_000), rows_max=rows_max, age_seconds=100.0)
    now, added = 0.0, []
    for number, wait in enumerate(waits):
        now += wait
        generations.add(key(number), now)
        added.append(now)
        assert len(generations) <= rows_max
        assert key(number) in generations
    generations.forget(now)
    assert all(now - added[number] < 100.0 for number in remembered(generations, len(added)))
