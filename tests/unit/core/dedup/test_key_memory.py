"""What a memory of keys remembers, and how memories share one budget."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searches import examples, some_of
from worker.core.dedup.key_memory import (
    GENERATIONS,
    KEY_BYTES,
    Generations,
    KeyBudget,
    generation_rows,
    remembered_at_least,
)


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


@examples(100)
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


AGES = 1e9


class Counted:
    """A memory that is nothing but the sizes of its generations, the oldest last."""

    def __init__(self, generations: list[int]) -> None:
        self.generations = generations

    @property
    def charged(self) -> int:
        return sum(self.generations)

    def give_up_oldest(self) -> None:
        self.generations.pop()


def memories(budget: KeyBudget, count: int, *, rows_max: int | None = None) -> list[Generations]:
    return [
        Generations(budget, rows_max=rows_max or budget.rows_max, age_seconds=AGES)
        for _ in range(count)
    ]


def fill(memory: Generations, begin: int, end: int) -> None:
    for number in range(begin, end):
        memory.add(b"%d" % number, 0.0)


def test_one_memory_may_have_all_of_it() -> None:
    busy, *_ = memories(KeyBudget(800), 6)
    fill(busy, 0, 5000)
    assert remembered(busy, 5000) == list(range(5000 - len(busy), 5000))
    assert 700 <= len(busy) <= 800
    assert busy.evicted == 5000 - len(busy)


def test_the_largest_gives_up_its_oldest_keys_for_one_that_needs_room() -> None:
    large, small = memories(KeyBudget(800), 2)
    fill(large, 0, 800)
    before = large.evicted
    fill(small, 0, 50)
    assert (len(small), small.evicted) == (50, 0)
    assert remembered(large, 800) == list(range(large.evicted, 800)), "its newest stay"
    assert 0 < large.evicted - before <= 100, "one generation makes room for one"


def test_two_that_need_all_of_it_share_it() -> None:
    first, second = memories(KeyBudget(8000), 2)
    fill(first, 0, 8000)
    fill(second, 0, 20_000)
    fill(first, 8000, 20_000)
    assert len(first) + len(second) <= 8000
    assert min(len(first), len(second)) >= 3000


def test_who_holds_less_than_its_share_loses_nothing_to_others() -> None:
    budget = KeyBudget(8000)
    quiet, *busy = memories(budget, 4)
    fill(quiet, 0, 8000 // 4 * 7 // 8)
    for memory in busy:
        fill(memory, 0, 30_000)
    assert (len(quiet), quiet.evicted) == (1750, 0)


def test_of_equals_the_first_gives_way() -> None:
    budget = KeyBudget(60)
    counted = [Counted([10, 10, 10]), Counted([10, 10, 10])]
    for one in counted:
        budget.join(one)
    budget.make_room(5)
    assert [one.generations for one in counted] == [[10, 10], [10, 10, 10]]
    budget.make_room(30)
    assert [one.generations for one in counted] == [[10], [10, 10]]


def test_a_memory_of_its_own_bound_takes_no_more() -> None:
    budget = KeyBudget(8000)
    bounded, free = memories(budget, 1, rows_max=800) + memories(budget, 1)
    fill(bounded, 0, 5000)
    fill(free, 0, 20_000)
    assert len(bounded) <= 800
    assert len(free) >= 6000
    assert remembered_at_least(800) <= len(bounded)


def test_keys_that_grew_too_old_are_not_counted_as_evicted() -> None:
    (memory,) = [Generations(KeyBudget(800), rows_max=800, age_seconds=80.0)]
    memory.add(b"k", 0.0)
    memory.forget(80.0)
    assert (len(memory), memory.evicted) == (0, 0)


@examples(100)
@given(
    st.integers(8, 300),
    st.lists(st.integers(8, 300), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 40), st.floats(0, 5)), max_size=60),
)
def test_no_history_breaks_the_bound_or_forgets_the_newest_key(
    rows_max: int, bounds: list[int], steps: list[tuple[int, int, float]]
) -> None:
    budget = KeyBudget(rows_max)
    sharing = [Generations(budget, rows_max=bound, age_seconds=40.0) for bound in bounds]
    now, key = 0.0, 0
    for index, count, wait in steps:
        memory, now = sharing[index % len(sharing)], now + wait
        for _ in range(count):
            key += 1
            memory.add(b"%d" % key, now)
            assert b"%d" % key in memory
            assert sum(map(len, sharing)) <= sum(one.charged for one in sharing) <= rows_max
        assert all(len(one) <= bound for one, bound in zip(sharing, bounds, strict=True))
        assert sum(one.evicted for one in sharing) + sum(map(len, sharing)) <= key


@examples(100)
@given(st.integers(8, 100), st.lists(st.tuples(st.integers(0, 60), st.floats(0, 5)), max_size=20))
def test_keys_added_together_are_remembered_as_if_added_alone(
    rows_max: int, steps: list[tuple[int, float]]
) -> None:
    together, alone = (
        Generations(KeyBudget(rows_max), rows_max=rows_max, age_seconds=40.0) for _ in range(2)
    )
    now, count = 0.0, 0
    for step, wait in steps:
        now += wait
        keys = [key(number) for number in range(count, count + step)]
        count += step
        together.add_all(keys, now)
        for one in keys:
            alone.add(one, now)
        all_keys = {key(number) for number in range(count)}
        assert together.known(all_keys) == {one for one in all_keys if one in alone}
        assert together.known(all_keys) == alone.known(all_keys)
        assert together.evicted == alone.evicted


def test_the_same_history_ends_the_same() -> None:
    def play() -> list[tuple[int, int]]:
        sharing = memories(KeyBudget(500), 3)
        for number in range(3000):
            sharing[number * number % 3].add(b"%d" % number, number / 10)
        return [(len(one), one.evicted) for one in sharing]

    assert play() == play()


@pytest.mark.parametrize("topics", some_of(range(1, 25)))
def test_a_key_takes_no_more_than_is_planned_for(topics: int) -> None:
    """The bytes of the sets of a full budget, and of their keys, for any size of generations."""
    sharing = memories(KeyBudget(100_000), topics)
    for number in range(150_000):
        sharing[number % topics].add(number.to_bytes(16, "big"), 0.0)
    # An object of 49 bytes takes 64 of the allocator.
    taken = sum(
        sys.getsizeof(one.keys) + 64 * len(one.keys)
        for memory in sharing
        for one in memory._generations
    )
    assert taken <= 100_000 * KEY_BYTES


def test_a_generation_is_at_least_three_fifths_of_what_is_wanted() -> None:
    for wanted in range(1, 100_000):
        assert wanted * 3 // 5 <= generation_rows(wanted) <= wanted


@pytest.mark.parametrize("rows_max", [8, 80, 1000, 30_000, 160_000, 166_666, 1_000_000])
def test_a_lookup_asks_few_sets(rows_max: int) -> None:
    (memory,) = memories(KeyBudget(rows_max), 1)
    fill(memory, 0, min(rows_max * 2, 400_000))
    assert len(memory._generations) <= GENERATIONS * 5 // 3 + 1


def test_one_that_grows_into_the_room_of_many_asks_few_sets_too() -> None:
    grown, *others = memories(KeyBudget(80_000), 6)
    for other in others:
        other.add(b"k", 0.0)
    fill(grown, 0, 300_000)
    assert len(grown._generations) <= GENERATIONS * 5 // 3 + 1
    assert len(grown) >= 80_000 // 2
