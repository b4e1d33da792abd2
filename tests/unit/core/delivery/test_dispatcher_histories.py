"""Random histories of the dispatcher: no row is lost, doubled or sent under a reused id."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import (
    UNIX_SECONDS,
    make_assignment,
    make_batch,
    make_destination,
    make_row,
    now_at,
)
from tests.searches import examples
from tests.unit.core.delivery.dispatching import (
    LOST,
    REFUSED_CONNECTION,
    Stage,
    delivered_rows,
    status,
)
from worker.core.delivery.settlement import Settlement
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.record import Assignment, AssignmentState

AGE_SECONDS = 1_209_600
IN_FLIGHT_MAX = 3
ROUGH: list[Answer] = [
    *[status(200)] * 4,
    *[status(400)] * 3,
    status(422),
    status(503, retry_after="40"),
    status(429),
    status(403),
    status(302),
    LOST,
    REFUSED_CONNECTION,
]


class History:
    """A tiny loop around a dispatcher. `account` says of every row submitted where it ended."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.stage = Stage(IN_FLIGHT_MAX, systemic_rows_min=6, uniform=self.random.random)
        self.submitted: set[tuple[Assignment, int]] = set()
        self.account: Counter[tuple[Assignment, int]] = Counter()
        self.bodies: dict[str, bytes] = {}
        self.in_flight: list[Batch] = []
        self.assignments = [
            make_assignment(partition, epoch=partition + 1) for partition in range(2)
        ]
        self.numbers = 0

    def submit(self) -> None:
        destination = make_destination(self.random.choice([1111, 2222]))
        rows = []
        for _ in range(self.random.randint(1, 9)):
            self.numbers += 1
            nearly_too_old = UNIX_SECONDS - AGE_SECONDS + self.random.randint(0, 200)
            seconds = nearly_too_old if self.random.random() < 0.1 else UNIX_SECONDS
            owner = self.random.choice(self.assignments)
            rows.append(
                make_row(
                    self.numbers, assignment=owner, destination=destination, event_timestamp=seconds
                )
            )
        self.submitted |= {(row.assignment, row.record.offset) for row in rows}
        self.stage.dispatcher.submit([make_batch(rows, batch_id=f"batch-{self.numbers}")])

    def settle(self, settlement: Settlement) -> None:
        rows = [
            *delivered_rows(settlement),
            *settlement.returned,
            *(refusal.row for refusal in settlement.refused),
        ]
        self.account.update((row.assignment, row.record.offset) for row in rows)

    def start(self) -> None:
        posts, settlement = self.stage.dispatcher.start(now_at(self.stage.seconds))
        self.settle(settlement)
        for batch in posts:
            assert self.bodies.setdefault(batch.id, batch.body()) == batch.body(), (
                "one id, two bodies"
            )
            assert len(batch.body()) == batch.body_bytes
            assert (
                batch.oldest_event_timestamp
                >= int(now_at(self.stage.seconds).unix_seconds) - AGE_SECONDS
            )
            assert all(
                self.stage.state_of(row.assignment) is not AssignmentState.RELEASED
                for row in batch.rows
            )
        self.in_flight += posts
        assert (
            len(self.in_flight)
            == self.stage.status().destination.requests_in_flight
            <= IN_FLIGHT_MAX
        )

    def answer(self, answer: Answer) -> None:
        if not self.in_flight:
            return
        batch = self.in_flight.pop(self.random.randrange(len(self.in_flight)))
        self.settle(self.stage.answer(batch, answer))

    def leave(self) -> None:
        """A partition is drained and fenced; another epoch of it takes its place."""
        leaver = self.assignments.pop(0)
        self.stage.states[leaver] = AssignmentState.DRAINING
        self.settle(self.stage.dispatcher.waiting.take_back_waiting({leaver}))
        self.start()
        self.stage.states[leaver] = AssignmentState.RELEASED
        self.settle(self.stage.dispatcher.waiting.take_back({leaver}))
        self.assignments.append(make_assignment(leaver.partition, epoch=leaver.epoch + 2))

    def step(self) -> None:
        act = self.random.random()
        if act < 0.25:
            self.submit()
        elif act < 0.75:
            self.answer(self.random.choice(ROUGH))
        elif act < 0.95:
            self.stage.seconds += self.random.choice([0.1, 1.0, 10.0, 31.0])
        else:
            self.leave()
        self.start()
        self.assert_accounted()

    def assert_accounted(self) -> None:
        assert all(times == 1 for times in self.account.values()), "a row left twice"
        assert self.account.keys() <= self.submitted
        inside = self.stage.status().rows_in_flight + self.stage.status().rows_waiting
        # Bad rows of a bisection that isn't over are inside too, in no batch.
        assert inside + len(self.account) <= len(self.submitted)

    def heal(self) -> None:
        """From now on every answer is 200: everything must come to its end."""
        for _ in range(2000):
            self.start()
            if self.in_flight:
                self.answer(status(200))
                continue
            deadline = self.stage.dispatcher.next_deadline()
            if deadline is None:
                return
            self.stage.seconds = max(self.stage.seconds, deadline)
        raise AssertionError("the dispatcher does not come to rest")


@examples(150)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_every_row_ends_once_and_all_end_once_the_api_is_well(seed: int, steps: int) -> None:
    history = History(seed)
    for _ in range(steps):
        history.step()
    history.heal()
    assert set(history.account) == history.submitted
    assert set(history.account.values()) <= {1}
    assert history.stage.status().rows_in_flight + history.stage.status().rows_waiting == 0
    assert history.stage.status().oldest_event_timestamp is None
