"""An API that answers by the rows of a batch, until every row has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.builders import make_batch, make_destination, now_at
from tests.unit.core.delivery.dispatching import (
    Stage,
    delivered_rows,
    offsets,
    status,
)
from worker.core.delivery.settlement import RefusedRow, Settlement
from worker.core.model.answer import Answer
from worker.core.model.batch import Batch

OTHER = make_destination(2222)
REQUESTS_MAX = 3000


class Api:
    """Answers each batch and counts its requests; other batches arrive meanwhile."""

    def __init__(
        self, stage: Stage, answer_for: Callable[[Batch], Answer], *, stream: int = 2
    ) -> None:
        self.stage = stage
        self.answer_for = answer_for
        self.stream = stream
        self.sent: Counter[int] = Counter()
        self.delivered: list[int] = []
        self.refused: list[RefusedRow] = []
        self.logs: list[str] = []
        self.seconds_of_answer = 0.1
        self.requests = 0
        self._number = 100_000

    def run(self, *batches: Batch) -> None:
        """Until each row of these has come to its end."""
        self.stage.dispatcher.submit(batches)
        wanted = {offset for batch in batches for offset in offsets(batch.rows)}
        while wanted - set(self.delivered) - {one.row.record.offset for one in self.refused}:
            self.turn()

    def turn(self) -> None:
        """What may be sent now is sent and answered; then time goes on, and so does the stream."""
        now = now_at(self.stage.seconds)
        posts, settlement = self.stage.dispatcher.start(now)
        self.settle(settlement)
        self.stage.seconds += self.seconds_of_answer
        answers = [(batch, self.answer_for(batch)) for batch in posts]
        # What gets no answer in time ends after the others.
        for batch, answer in sorted(answers, key=lambda pair: pair[1].duration_seconds):
            self.requests += 1
            assert self.requests < REQUESTS_MAX, "it does not end"
            self.sent.update(offsets(batch.rows))
            self.settle(self.stage.answer(batch, answer))
        for _ in range(self.stream):
            self._number += 1
            self.stage.dispatcher.submit(
                [make_batch(1, batch_id=f"stream-{self._number}", start=self._number)]
            )
        deadline = self.stage.dispatcher.next_deadline()
        if not posts and deadline is not None:
            self.stage.seconds = max(self.stage.seconds, deadline)

    def settle(self, settlement: Settlement) -> None:
        self.delivered += offsets(delivered_rows(settlement))
        self.refused += settlement.refused
        self.logs += [log.event for log in settlement.logs]


def fails_for(bad: set[int], answer: Answer) -> Callable[[Batch], Answer]:
    return lambda batch: answer if bad & set(offsets(batch.rows)) else status(200)
