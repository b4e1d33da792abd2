"""The Post API of a history: every row of the answer table, latency, and time-outs of both kinds.

Some rows make it fail, and in some histories it takes seconds for each row.
"""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from verification.simulation.kafka_model import UNIX_SECONDS
from verification.simulation.scenario import Scenario
from verification.simulation.truth import POISON, USERS_TOPIC, Truth, profile_at
from verification.simulation.violation import ViolationError
from verification.simulation.watch import Watch
from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch
from worker.core.model.row import Row

TIMEOUT_SECONDS = 5.0
ROWS_MAX = 60
TIMED_OUT = Ambiguous(TransportFault.TIMEOUT, TIMEOUT_SECONDS)
# The answer to a request with a row that makes the API fail, by the second part of its name.
POISONED: dict[str, Answer] = {
    "500": Response(500, None, "internal error", 0.1),
    "403": Response(403, None, "blocked by the firewall", 0.1),
    "reset": Ambiguous(TransportFault.CONNECTION_LOST, 0.1),
    "hang": TIMED_OUT,
}
# The most that a request takes once all faults are over.
HEALTHY_SECONDS = 0.3


def event_of(row: Row) -> str:
    """The name of the row's event: the third cell of its line, or what names it for profiles."""
    if row.assignment.topic == USERS_TOPIC:
        (cells,) = csv.reader([row.line.decode()])
        return str(json.loads(cells[2])["event"])
    if row.destination.resource == "profiles":
        return profile_at(row.assignment.partition, row.record.offset)
    return row.line.split(b",")[2].decode()


@dataclass(frozen=True, slots=True)
class Sender:
    """A sender. `watch` checks each request at its start; `is_alive` is read when its bytes arrive.

    It waits for the answer `time_factor` times as long as usual. While its clock is wrong it may
    send rows that are too old.
    """

    name: str
    watch: Watch
    is_alive: Callable[[], bool]
    time_factor: int
    is_clock_right: Callable[[], bool]


class ModelApi:
    """The destination of all workers. `heal` ends its faults."""

    def __init__(self, scenario: Scenario, truth: Truth) -> None:
        self._scenario = scenario
        self.truth = truth
        self._chance = Random(scenario.seed + 1)
        self._is_healthy = False
        self._is_away = False
        # Until when a worker must not send for an application, by the Retry-After of a 429.
        self._asked_to_wait: dict[tuple[Watch, int], float] = {}

    def heal(self) -> None:
        """End all faults: only invalid rows are refused from now on."""
        self._is_healthy, self._is_away = True, False

    def go_away(self) -> None:
        """Refuse all connections until it heals."""
        self._is_away = True

    async def post(self, batch: Batch, key: str, sender: Sender) -> Answer:
        """Answer a worker's request. The text of a refusal repeats the key."""
        started = asyncio.get_running_loop().time()
        events = [event_of(row) for row in batch.rows]
        sender.watch.check_post(batch, self._unix_seconds() if sender.is_clock_right() else 0.0)
        name = f"{sender.name} of {batch.rows[0].assignment.topic}"
        self.truth.check_sender(name, events)
        if len({row.destination for row in batch.rows}) > 1:
            raise ViolationError("batch", f"{batch.id} mixes destinations")
        self.truth.check_body(batch.id, batch.body())
        asked = (sender.watch, batch.destination.application_id)
        if asyncio.get_running_loop().time() < self._asked_to_wait.get(asked, 0.0):
            raise ViolationError(
                "throttling", f"{sender.name} sends {batch.id} although its application was to wait"
            )
        answer, loads = self._answer_for(batch)
        if isinstance(answer, Response):
            answer = replace(answer, date_unix_seconds=self._unix_seconds())
        if isinstance(answer, NotSent):
            await asyncio.sleep(0.01)
            return answer
        await asyncio.sleep(self._latency())
        if loads and sender.is_alive():
            self.truth.receive(events)
            self._receive_profiles(batch, sender.name)
        patience = TIMEOUT_SECONDS * sender.time_factor
        work = len(batch.rows) * self._scenario.seconds_per_row
        if isinstance(answer, Response) and work > patience:
            # The rows are loaded in the end, and nobody waits for the answer.
            answer = TIMED_OUT
        await asyncio.sleep(patience if answer == TIMED_OUT else work + self._latency())
        if isinstance(answer, Response) and answer.status == 200 and sender.is_alive():
            self.truth.answer(events, asyncio.get_running_loop().time(), name)
        answer = replace(answer, duration_seconds=asyncio.get_running_loop().time() - started)
        if isinstance(answer, Response) and answer.status != 200:
            if answer.status == 429 and answer.retry_after is not None:
                self._asked_to_wait[asked] = asyncio.get_running_loop().time() + float(
                    answer.retry_after
                )
            return replace(answer, excerpt=f"{answer.excerpt} for {key}")
        return answer

    async def ask_time(self) -> Answer:
        """Answer a request for the time; it fails where requests with events are refused too."""
        await asyncio.sleep(self._latency())
        now = asyncio.get_running_loop().time()
        is_refusing = not self._is_healthy and any(
            one.begin <= now < one.end and one.answer == "refused" for one in self._scenario.windows
        )
        if self._is_away or is_refusing:
            return NotSent(TransportFault.CONNECT_FAILED, 0.01)
        return Response(404, None, "", 0.1, self._unix_seconds())

    def _unix_seconds(self) -> float:
        return UNIX_SECONDS + asyncio.get_running_loop().time()

    def _latency(self) -> float:
        fastest, slowest = self._scenario.latency_seconds
        return (
            self._chance.uniform(
                fastest, min(slowest, HEALTHY_SECONDS) if self._is_healthy else slowest
            )
            / 2
        )

    def _receive_profiles(self, batch: Batch, worker: str) -> None:
        """Note the order in which rows of ordered profiles are loaded."""
        if batch.rows[0].assignment.topic == USERS_TOPIC:
            for row in batch.rows:
                self.truth.profiles.load(event_of(row), worker, row.assignment)

    def _answer_for(self, batch: Batch) -> tuple[Answer, bool]:
        """The answer, and whether the rows are loaded."""
        if self._is_away:
            return self._answer("refused")
        if not self._is_healthy:
            problem = self._problem(batch)
            if problem is not None:
                return problem
        poison = next(
            (event for event in map(event_of, batch.rows) if event.startswith(POISON)), None
        )
        if poison is not None:
            return POISONED[poison.split("-")[1]], False
        if any(event_of(row).startswith("refused") for row in batch.rows):
            return Response(self._chance.choice((400, 422)), None, "a row is bad", 0.1), False
        if len(batch.rows) > ROWS_MAX:
            return Response(413, None, "too large", 0.1), False
        return Response(200, None, "", 0.1), True

    def _problem(self, batch: Batch) -> tuple[Answer, bool] | None:
        now = asyncio.get_running_loop().time()
        for window in self._scenario.windows:
            if window.begin <= now < window.end and window.application_id in (
                None,
                batch.destination.application_id,
            ):
                return self._answer(window.answer)
        roll = self._chance.random()
        if roll < self._scenario.ambiguous_share:
            return TIMED_OUT, self._chance.random() < 0.5
        if roll < self._scenario.ambiguous_share + self._scenario.failure_share:
            return self._answer(self._chance.choice(("503", "429", "refused", "408", "425")))
        return None

    def _answer(self, kind: str) -> tuple[Answer, bool]:
        match kind:
            case "timeout":
                return TIMED_OUT, self._chance.random() < 0.5
            case "504":
                return Response(504, None, "", 0.1), self._chance.random() < 0.5
            case "refused":
                return NotSent(TransportFault.CONNECT_FAILED, 0.01), False
            case "429":
                return Response(429, "2", "", 0.1), False
            case _:
                return Response(int(kind), None, "", 0.1), False
