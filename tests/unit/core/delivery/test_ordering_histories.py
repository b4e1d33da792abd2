"""Whatever happens to a lane, no row of a profile arrives after a later row."""

from __future__ import annotations

from collections import defaultdict
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import make_assignment, make_batch, make_row, now_at
from tests.searches import examples
from tests.unit.core.delivery.dispatching import (
    LOST,
    REFUSED_CONNECTION,
    TIMED_OUT,
    Stage,
    delivered_rows,
    offsets,
    status,
)
from tests.unit.core.delivery.ordered_rows import ORDERED
from worker.core.delivery.settlement import Settlement
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch
from worker.core.model.record import AssignmentState
from worker.core.model.row import Destination
from worker.core.post_api.resource import Identity

ROUGH = (
    status(503),
    status(503, retry_after="40"),
    status(429),
    status(403),
    status(413),
    LOST,
    TIMED_OUT,
    REFUSED_CONNECTION,
)


class History:
    """A tiny loop around a dispatcher of profiles, and an API that keeps what it has loaded."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.stage = Stage(
            requests_in_flight_max=self.random.choice((1, 2, 8)),
            systemic_rows_min=6,
            breaker_failures_max=self.random.choice((2, 1000)),
            uniform=self.random.random,
            ordered=ORDERED,
        )
        self.owners = [make_assignment(partition, epoch=partition + 1) for partition in range(2)]
        self.subjects: dict[int, str] = {}
        self.bad: dict[int, int] = {}
        self.loaded: dict[str, list[int]] = defaultdict(list)
        self.ended: set[int] = set()
        # Their rows go on with the next owner of the partition.
        self.left: set[str] = set()
        self.in_flight: list[Batch] = []
        self.roughness = 0.4

    def submit(self) -> None:
        application_id = self.random.choice((1111, 1111, 2222))
        destination = Destination("profiles", application_id, Identity.PROFILE_ID)
        rows = []
        for _ in range(self.random.randint(1, 6)):
            offset = len(self.subjects)
            # A profile's records lie in one partition.
            number = self.random.randrange(6)
            self.subjects[offset] = f"{application_id}-{number}"
            if self.random.random() < 0.08:
                self.bad[offset] = self.random.choice((400, 500, 403))
            line = f"{application_id},{number},{offset}\n".encode()
            owner = self.owners[number % 2]
            rows.append(make_row(offset, destination=destination, line=line, assignment=owner))
        self.stage.dispatcher.submit([make_batch(rows, batch_id=f"batch-{rows[0].record.offset}")])

    def settle(self, settlement: Settlement) -> None:
        ended = [*delivered_rows(settlement), *(refused.row for refused in settlement.refused)]
        for offset in offsets([*ended, *settlement.returned]):
            assert offset not in self.ended, "a row left twice"
            self.ended.add(offset)
        self.left |= {self.subjects[offset] for offset in offsets(settlement.returned)}
        wrongly = [one for one in settlement.refused if one.row.record.offset not in self.bad]
        assert not [one for one in wrongly if one.fault.reason != "too_large_for_api"]

    def start(self) -> None:
        posts, settlement = self.stage.dispatcher.start(now_at(self.stage.seconds))
        self.settle(settlement)
        self.in_flight += posts
        lanes = [batch.destination.application_id for batch in self.in_flight]
        assert len(lanes) == len(set(lanes)), "two requests of a lane at once"
        deadline = self.stage.dispatcher.next_deadline()
        assert deadline is None or deadline > self.stage.seconds, "it is due, and isn't sent"

    def answer(self) -> None:
        if not self.in_flight:
            return
        batch = self.in_flight.pop(self.random.randrange(len(self.in_flight)))
        faults = [self.bad[offset] for offset in offsets(batch.rows) if offset in self.bad]
        answer: Answer = status(faults[0] if faults else 200)
        if self.random.random() < self.roughness:
            answer = self.random.choice(ROUGH)
        is_loaded = answer in (LOST, TIMED_OUT) and not faults and self.random.random() < 0.5
        if is_loaded or answer == status(200):
            self.load(batch)
        self.settle(self.stage.answer(batch, answer))

    def load(self, batch: Batch) -> None:
        for offset in offsets(batch.rows):
            loaded = self.loaded[self.subjects[offset]]
            assert offset in loaded or not loaded or offset > max(loaded), "overtaken"
            loaded.append(offset)

    def leave(self) -> None:
        leaver = self.owners[0]
        self.owners = [self.owners[1], make_assignment(leaver.partition, epoch=leaver.epoch + 2)]
        self.owners.sort(key=lambda owner: owner.partition)
        self.stage.states[leaver] = AssignmentState.DRAINING
        self.settle(self.stage.dispatcher.waiting.take_back_waiting({leaver}))
        self.start()
        self.stage.states[leaver] = AssignmentState.RELEASED
        self.settle(self.stage.dispatcher.waiting.take_back({leaver}))

    def step(self) -> None:
        act = self.random.random()
        if act < 0.25:
            self.submit()
        elif act < 0.75:
            self.answer()
        elif act < 0.98:
            self.stage.seconds += self.random.choice([0.1, 1.0, 10.0, 31.0])
        else:
            self.leave()
        self.start()

    def heal(self) -> None:
        """From now on the API answers by the rows alone: everything must come to its end."""
        self.roughness = 0.0
        for turn in range(2000):
            # Bad rows can't be distinguished from a broken API while nothing else is sent.
            if turn % 20 == 0 and len(self.ended) < len(self.subjects):
                self.company(turn)
            self.start()
            if self.in_flight:
                self.answer()
                continue
            deadline = self.stage.dispatcher.next_deadline()
            if len(self.ended) == len(self.subjects):
                return
            if deadline is not None:
                self.stage.seconds = max(self.stage.seconds, deadline)
        raise AssertionError(f"{len(self.subjects) - len(self.ended)} rows don't come to their end")

    def company(self, turn: int) -> None:
        for application_id in (1111, 2222):
            offset = len(self.subjects)
            self.subjects[offset] = f"{application_id}-company-{turn}"
            line = f"{application_id},company-{turn},{offset}\n".encode()
            destination = Destination("profiles", application_id, Identity.PROFILE_ID)
            row = make_row(offset, destination=destination, line=line, assignment=self.owners[0])
            self.stage.dispatcher.submit([make_batch([row], batch_id=f"company-{offset}")])


@examples(150)
@given(st.integers(0, 2**32), st.integers(1, 150))
def test_no_row_of_a_profile_arrives_after_a_later_one_and_all_end(seed: int, steps: int) -> None:
    history = History(seed)
    for _ in range(steps):
        history.step()
    history.heal()
    for subject, loaded in history.loaded.items():
        assert subject in history.left or loaded[-1] == max(loaded), "an older value is the last"
