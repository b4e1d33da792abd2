"""How many waiting rows are too old soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_batch, make_row
from worker.core.counters.snapshot import EXPIRY_WINDOWS_SECONDS, expiring_rows

NOW, AGE_MAX = 2_000_000.0, 1_000_000


@given(st.lists(st.lists(st.integers(0, 100_000), min_size=1, max_size=5), max_size=4))
def test_rows_count_in_each_window_in_which_they_become_too_old(batches: list[list[int]]) -> None:
    made = [
        make_batch(
            [
                make_row(offset, event_timestamp=int(NOW) - AGE_MAX + left)
                for offset, left in enumerate(seconds_left)
            ]
        )
        for seconds_left in batches
    ]
    assert expiring_rows(made, NOW, AGE_MAX) == {
        window: sum(left < window for seconds_left in batches for left in seconds_left)
        for window in EXPIRY_WINDOWS_SECONDS
    }
