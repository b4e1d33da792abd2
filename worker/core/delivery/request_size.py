"""The number of rows and the time of a request to an API that is too slow.

    no answer in time, and none as large accepted meanwhile   rows_max = rows / 2
    … again, and nothing was accepted in between              time allowed x 2, at most x 4
    accepted in a quarter of the ordinary time                rows_max x 2: twice the rows will
                                                              also be fast enough
    accepted SUCCESSES_TO_GROW consecutive times              rows_max x 2: the time may not depend
                                                              on the rows

A request that gets no answer in time may have been loaded all the same, so the same rows sent again
and again are duplicates without end. Halved, they get through after log2(rows) requests at most. A
batch that gets no answer while requests as large are accepted shows nothing about the API's speed:
that batch is suspect (`suspects`), and the sizes of the others stay.

A lane (a resource of an application) is kept here only while its requests are bounded: a healthy
API costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.delivery.request_history import Lane, RequestMoments

TIME_FACTOR_MAX = 4
# At most one time-out per this many successes, where the time does not depend on the rows.
SUCCESSES_TO_GROW = 16
# So large that no batch is ever cut: the API takes at most 100,000 events in a request.
ROWS_UNBOUNDED = 100_000


@dataclass(slots=True)
class _Bound:
    rows_max: int
    changed_at: int
    time_factor: int = 1
    successes: int = 0
    is_any_accepted: bool = False


class RequestSizes:
    """The bounds of every lane that has some.

    `request_seconds`: the time that a request is ordinarily allowed.
    """

    def __init__(self, request_seconds: float) -> None:
        self._request_seconds = request_seconds
        self._bounds: dict[Lane, _Bound] = {}

    def rows_max(self, lane: Lane) -> int:
        """How many rows a request of this lane may have at present."""
        bound = self._bounds.get(lane)
        return bound.rows_max if bound is not None else ROWS_UNBOUNDED

    def time_factor(self, lane: Lane) -> int:
        """The factor by which a request of this lane may take longer at present."""
        bound = self._bounds.get(lane)
        return bound.time_factor if bound is not None else 1

    def slow_down(self, lane: Lane, rows: int, request: RequestMoments) -> bool:
        """A request of `rows` rows got no answer in time; returns True if the bounds have changed.

        Requests of one round time out together: those that started before the last change have been
        counted by it.
        """
        bound = self._bounds.get(lane)
        if bound is None:
            self._bounds[lane] = _Bound(max(1, rows // 2), request.ended)
            return True
        bound.successes = 0
        if request.started < bound.changed_at:
            return False
        before = (bound.rows_max, bound.time_factor)
        bound.rows_max = min(bound.rows_max, max(1, rows // 2))
        if not bound.is_any_accepted:
            bound.time_factor = min(bound.time_factor * 2, TIME_FACTOR_MAX)
        bound.changed_at, bound.is_any_accepted = request.ended, False
        return before != (bound.rows_max, bound.time_factor)

    def speed_up(self, lane: Lane, rows: int, duration_seconds: float) -> bool:
        """A request of `rows` rows was accepted; returns True if the lane's bounds end with it."""
        bound = self._bounds.get(lane)
        if bound is None:
            return False
        bound.is_any_accepted = True
        # The time allowed must stay at least twice the time needed.
        while (
            bound.time_factor > 1
            and duration_seconds * 4 <= bound.time_factor * self._request_seconds
        ):
            bound.time_factor //= 2
        if rows * 2 <= bound.rows_max:
            # Too small to show how many rows are in time.
            return False
        bound.successes += 1
        if duration_seconds * 4 <= self._request_seconds or bound.successes >= SUCCESSES_TO_GROW:
            bound.rows_max, bound.successes = bound.rows_max * 2, 0
        if bound.rows_max < ROWS_UNBOUNDED or bound.time_factor > 1:
            return False
        del self._bounds[lane]
        return True
