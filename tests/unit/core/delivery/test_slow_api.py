"""An API that is too slow for a batch gets smaller batches; sizes recover."""

from __future__ import annotations

from math import log2

import pytest

from tests.builders import make_batch
from tests.unit.core.delivery.answering_api import Api, fails_for
from tests.unit.core.delivery.dispatching import (
    TIMED_OUT,
    Stage,
    offsets,
    status,
)
from worker.core.delivery.request_size import SUCCESSES_TO_GROW
from worker.core.model.answer import Answer, Response
from worker.core.model.batch import Batch


class SlowApi(Api):
    """An API that takes this many seconds for each row.

    A request that takes longer than its time-out is loaded, and gets no answer.
    """

    def __init__(self, seconds_per_row: float, *, in_flight: int = 4) -> None:
        super().__init__(Stage(requests_in_flight_max=in_flight), self.answer_by_size, stream=0)
        self.seconds_per_row = seconds_per_row

    def answer_by_size(self, batch: Batch) -> Answer:
        seconds = self.seconds_per_row * len(batch.rows)
        allowed = 25.0 * self.stage.dispatcher.time_factor(batch)
        return TIMED_OUT if seconds > allowed else Response(200, None, "", seconds)


@pytest.mark.parametrize("seconds_per_row", [0.02, 0.1, 1.0, 10.0, 60.0])
def test_an_api_too_slow_for_a_batch_gets_smaller_ones_and_rows_are_sent_a_bounded_number_of_times(
    seconds_per_row: float,
) -> None:
    api = SlowApi(seconds_per_row)
    api.run(
        *(make_batch(256, batch_id=f"batch-{number}", start=256 * number) for number in range(4))
    )
    assert sorted(api.delivered) == list(range(1024))
    assert api.refused == []
    assert max(api.sent.values()) <= log2(256) + 4


def test_sizes_recover_when_the_api_is_quick_again() -> None:
    api = SlowApi(1.0)
    api.run(
        *(make_batch(256, batch_id=f"batch-{number}", start=256 * number) for number in range(4))
    )
    assert "request_size_reduced" in api.logs
    api.seconds_per_row = 0.0001
    sizes = []
    for number in range(4, 30):
        before = api.requests
        api.run(make_batch(256, batch_id=f"batch-{number}", start=256 * number))
        sizes.append(api.requests - before)
    assert sizes[-1] == 1
    assert max(sizes) <= 2 * SUCCESSES_TO_GROW


def test_a_time_out_is_retried_with_half_of_the_rows_and_the_rest_follows() -> None:
    stage = Stage(requests_in_flight_max=8)
    (batch,) = stage.submit(make_batch(5))
    stage.answer(batch, TIMED_OUT)
    first, second, third = stage.start_at(60.0)
    assert [offsets(one.rows) for one in (first, second, third)] == [[0, 1], [2, 3], [4]]


def test_a_row_that_hangs_makes_no_other_request_smaller() -> None:
    stage = Stage(requests_in_flight_max=8)
    api = Api(stage, fails_for({3}, TIMED_OUT))
    api.run(*(make_batch(8, batch_id=f"batch-{number}", start=8 * number) for number in range(60)))
    assert offsets([one.row for one in api.refused]) == [3]
    assert "request_size_reduced" not in api.logs


def test_a_probe_that_times_out_asks_with_fewer_rows_the_next_time() -> None:
    stage = Stage()
    (batch,) = stage.submit(make_batch(8))
    stage.answer(batch, status(403))
    (probe,) = stage.start_at(30.0)
    stage.answer(probe, TIMED_OUT)
    (again,) = stage.start_at(60.0)
    assert len(again.rows) == 4
