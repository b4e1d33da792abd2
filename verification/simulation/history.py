"""A history from its seed: publish, disturb, end all faults, and check the end."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random

from aiokafka.structs import TopicPartition

from verification.simulation.absences import Absences, draw_absence
from verification.simulation.api_model import ModelApi
from verification.simulation.clocks import ahead, draw_jumps
from verification.simulation.kafka_faults import Chances
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.producers import USER_PARTITIONS, Producers, UserProducer
from verification.simulation.scenario import DEDUP_ROWS_LARGE, Moment, Mood, Scenario, draw
from verification.simulation.truncations import truncate
from verification.simulation.truth import (
    DEAD_LETTER_TOPIC,
    GROUP,
    PARKING_TOPIC,
    PROFILE_PARTITIONS,
    PROFILES_TOPIC,
    TOPIC,
    USERS_TOPIC,
    Truth,
)
from verification.simulation.violation import ViolationError
from verification.simulation.virtual_loop import VirtualTimeError, run
from verification.simulation.worker_life import KEY, Born, WorkerLife, commits_seen
from worker.edges.telemetry.logs import JsonFormatter
from worker.edges.telemetry.redaction import Redactor
from worker.errors import UnavailableError

# A row that gets no answer takes a time-out for each try, and there may be several of them.
LIVENESS_SECONDS = 300.0
HISTORY_LINES_MAX = 40
# Events published meanwhile, at once (for several workers and applications), and how often in
# steps of half a second.
EVENTS_AT_ONCE = 4
# One history of this many has a topic of profiles.
PROFILES_EVERY = 3
EVENT_EVERY = 4
# Connections die for so long, one lot after the other.
SILENT_SECONDS = 3.0
SILENCE_SECONDS_MAX = 0.02
# What is closed is closed in so long.
LEAVING_SECONDS = 1.0
# All requests of one commit are sent in so long; as often the answer may be lost.
COMMIT_ROUND_SECONDS = 1.0
REFUSALS_MAX = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a history ended. `violation` names the invariant that didn't hold; empty if all did."""

    seed: int
    violation: str
    text: str
    lines: tuple[str, ...]
    delivered: int
    repeated: int


def play(seed: int) -> Outcome:
    """Play the history of this seed."""
    scenario = draw(seed)
    truth = Truth(
        commits_come_in_order=scenario.mood is not Mood.WILD,
        keys_are_evicted=scenario.dedup_rows_max < DEDUP_ROWS_LARGE,
    )
    lines: deque[str] = deque(maxlen=HISTORY_LINES_MAX)
    violation = text = ""
    complaints: list[str] = []
    history = _History(scenario, truth, lines)
    try:
        with commits_seen(history.sends_commit), log_shown(history.hear_log):
            run(
                history.play(),
                seconds_max=scenario.seconds + 2 * LIVENESS_SECONDS + 120,
                complaints=complaints,
            )
    except ViolationError as error:
        violation, text = error.name, str(error)
    except VirtualTimeError as error:
        violation, text = "7 liveness", str(error)
    except Exception as error:  # noqa: BLE001  # whatever a task dies of is a violation
        violation, text = "7 a task died", f"{type(error).__name__}: {error}"
    if not violation:
        may_be_unclosed = history.has_killed
        del history
        # Python reports what died unobserved when it is collected.
        gc.collect()
        if left := unexpected(complaints, may_be_unclosed=may_be_unclosed):
            violation, text = "7 unobserved", left[0]
    repeated = sum(count - 1 for count in truth.accepted.values())
    return Outcome(seed, violation, text, tuple(lines), len(truth.accepted), repeated)


@contextmanager
def log_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Format every line of the worker's log as it would be written, without redaction.

    So a secret that only redaction would hide is found.
    """

    class ShowingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            show(self.format(record))

    handler = ShowingHandler()
    handler.setFormatter(JsonFormatter(Redactor(())))
    logger = logging.getLogger("worker")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def unexpected(complaints: Sequence[str], *, may_be_unclosed: bool) -> list[str]:
    """What the loop complains of and the worker has to answer for.

    A commit that has run out of time goes on inside aiokafka, which shields it, and its end
    concerns nobody any more. Where a client is given up while it asks its first broker, that
    connection is closed by its finaliser, which says so. A worker that was killed has closed
    nothing.
    """
    known = (
        "GroupCoordinator._do_commit_offsets",
        "Unclosed AIOKafkaConnection",
        *(("Unclosed AIOKafka", "Sender._sender_routine") if may_be_unclosed else ()),
    )
    return [complaint for complaint in complaints if not any(name in complaint for name in known)]


class _History:
    def __init__(self, scenario: Scenario, truth: Truth, lines: deque[str]) -> None:
        self._scenario = scenario
        self._truth = truth
        self._lines = lines
        self._chance = Random(scenario.seed + 2)
        self._workers: list[WorkerLife | None] = []
        self._looked_at: dict[TopicPartition, int] = {}
        self._lives = 0
        self._has_profiles = scenario.seed % PROFILES_EVERY == 0
        # How soon others are held beside partitions without a leader is checked without this topic:
        # one more partition to take over may need the time.
        is_absence_checked = scenario.mood is Mood.CALM and draw_absence(scenario) is not None
        self._has_users = bool(scenario.users) and not is_absence_checked
        self._apart: set[str] = set()
        self.has_killed = False
        self._leaks: list[str] = []
        self._refusals_for_size: dict[str, list[float]] = {}
        self._jumps = draw_jumps(scenario.seed, scenario.workers, scenario.seconds)

    async def play(self) -> None:
        """Safety first, then liveness."""
        scenario = self._scenario
        self._loop = asyncio.get_running_loop()
        self._kafka = ModelKafka(Random(scenario.seed + 3), on_commit=self._on_commit)
        for topic, count in (
            (TOPIC, scenario.partitions),
            (PARKING_TOPIC, 2),
            *([(PROFILES_TOPIC, PROFILE_PARTITIONS)] if self._has_profiles else []),
            (DEAD_LETTER_TOPIC, 1),
            *(((USERS_TOPIC, USER_PARTITIONS),) if self._has_users else ()),
        ):
            self._kafka.add_topic(topic, count)
        self._kafka.coordinator.limit_commit_metadata(
            scenario.commit_metadata_bytes_max, self._on_refusal_for_size
        )
        self._kafka.faults.chances = scenario.chances
        self._api = ModelApi(scenario, self._truth)
        self._producers = Producers(
            self._kafka,
            self._truth,
            scenario.partitions,
            self._chance,
            poison_share=scenario.poison_share,
            profile_chance=Random(scenario.seed + 6),
        )
        self._users = UserProducer(
            self._kafka,
            self._truth,
            Random(scenario.seed + 7),
            poison_share=scenario.poison_share,
        )
        absences = Absences(self._kafka, scenario, self._held)
        self._say(f"away: {absences.drawn}; clocks: {self._jumps}")
        self._workers = [self._start(index) for index in range(scenario.workers)]
        await asyncio.gather(
            self._publish(),
            self._publish_users(),
            absences.play(),
            self._move(),
            *(self._at(moment) for moment in scenario.moments),
        )
        self._say("all faults end")
        self._kafka.faults.chances = Chances()
        self._api.heal()
        await self._settle()
        if await truncate(self._kafka, scenario, self._truth, self._producers):
            self._say("logs were truncated")
            await self._settle()
        # A worker whose clock is ahead takes the tails of its partitions for too old until the API
        # has told the time.
        has_forgotten = any(jump.seconds > 0 for jump in self._jumps)
        may_repeat = scenario.mood is not Mood.CALM or has_forgotten
        self._truth.check_end(may_repeat=may_repeat)
        if not may_repeat:
            self._truth.profiles.check_last_values(self._truth.accepted)
        absences.check_rebuilds(
            sum(worker.parts.source.rebuilds for worker in self._workers if worker is not None)
        )
        for worker in self._workers:
            if worker is not None:
                worker.stop()
                await worker.ended()
        await asyncio.sleep(LEAVING_SECONDS)
        self._check_that_nothing_remains()

    def _check_that_nothing_remains(self) -> None:
        """Check that a worker that ended by itself has left no connection and no task."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks and not self.has_killed:
            raise ViolationError(
                "5 remains", f"{len(tasks)} tasks: {[str(task.get_coro()) for task in tasks][:5]}"
            )

    def _say(self, text: str) -> None:
        self._lines.append(f"{self._loop.time():8.2f} {text}")

    def _start(self, index: int) -> WorkerLife:
        self._lives += 1
        self._say(f"life {self._lives} starts")
        return WorkerLife(
            f"life-{self._lives}",
            self._kafka,
            self._api,
            Born(
                self._scenario.seed * 100 + self._lives,
                self._scenario.memory_bytes_max,
                self._scenario.dedup_rows_max,
                self._has_users,
                lambda: ahead(self._jumps, index, self._loop.time()),
                self._has_profiles,
            ),
        )

    async def _publish(self) -> None:
        left = self._scenario.records
        pause = self._scenario.seconds / max(1, left / 20)
        while left > 0:
            burst = min(left, self._chance.randint(1, 40))
            for _ in range(burst):
                self._producers.publish()
            if self._has_profiles:
                self._producers.publish_profiles()
            left -= burst
            await asyncio.sleep(self._chance.uniform(0, 2 * pause))

    async def _publish_users(self) -> None:
        chance = Random(self._scenario.seed + 8)
        left = self._scenario.users if self._has_users else 0
        while left > 0:
            burst = min(left, chance.randint(1, 20))
            for _ in range(burst):
                self._users.publish()
            left -= burst
            await asyncio.sleep(
                chance.uniform(0, 20 * self._scenario.seconds / self._scenario.users)
            )

    def _held(self) -> set[TopicPartition]:
        """What workers receive of at this moment."""
        return {one for worker in self._workers if worker is not None for one in worker.watch.held}

    # --- what goes wrong --------------------------------------------------------------------------

    async def _at(self, moment: Moment) -> None:
        await asyncio.sleep(moment.seconds)
        worker = self._workers[moment.worker]
        if worker is None:
            return
        self._say(f"{moment.what} {worker.name}")
        match moment.what:
            case "kill" | "stop" | "replace":
                self._workers[moment.worker] = None
                await (self._kill(worker) if moment.what == "kill" else self._stop(worker))
                if moment.what != "replace":
                    await asyncio.sleep(self._chance.uniform(0.1, 3))
                self._workers[moment.worker] = self._start(moment.worker)
                if moment.what == "replace":
                    await self._silence()
            case "zombie":
                await self._cut_off(worker)
            case "silence":
                self._kafka.network.silence_connections(
                    but_memberships=self._scenario.mood is not Mood.WILD
                )
            case "rebalance":
                self._kafka.coordinator.force_rebalance(GROUP)
            case "expire":
                self._kafka.coordinator.expire_session(GROUP, worker.client_id)
            case "brokers":
                self._kafka.network.take_down()
                await asyncio.sleep(self._chance.uniform(0.5, 6))
                self._kafka.network.bring_up()
            case "scribble":
                self._kafka.coordinator.damage_metadata(GROUP)
            case "hang":
                self._kafka.network.hang()
                await asyncio.sleep(self._chance.uniform(2, 16))
                self._kafka.network.bring_up()
            case _:
                raise AssertionError(f"no such moment: {moment.what}")

    async def _move(self) -> None:
        """Move the brokers to other addresses: what clients know of the cluster leads nowhere."""
        if self._scenario.move_seconds is not None:
            await asyncio.sleep(self._scenario.move_seconds)
            self._say("the brokers move")
            self._kafka.network.move()

    async def _kill(self, worker: WorkerLife) -> None:
        worker.check()
        if self._scenario.mood is Mood.STEADY:
            worker.watch.check_committed(
                lambda one: self._kafka.coordinator.committed(GROUP, one), self._loop.time()
            )
        self.has_killed = True
        await worker.kill()

    async def _stop(self, worker: WorkerLife) -> None:
        worker.stop()
        await self._ended(worker)

    async def _silence(self) -> None:
        """Break all connections repeatedly, while workers look up what they have taken over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENT_SECONDS):
                while True:
                    await self._kafka.await_onlooker()
                    await asyncio.sleep(self._chance.uniform(0, SILENCE_SECONDS_MAX))
                    self._kafka.network.silence_connections()

    async def _cut_off(self, worker: WorkerLife) -> None:
        """Cut this worker off from the brokers for a while, even if it is dead already."""
        if worker.client_id in self._apart:
            return
        self._apart.add(worker.client_id)
        self._kafka.network.cut_off(worker.client_id)
        await asyncio.sleep(self._chance.uniform(1, 20))
        if worker.is_running:
            self._apart.discard(worker.client_id)
            self._kafka.network.reconnect(worker.client_id)

    async def _ended(self, worker: WorkerLife) -> None:
        try:
            await worker.ended()
        except UnavailableError:
            self._say(f"{worker.name} gave up")

    # --- what is seen -----------------------------------------------------------------------------

    def sends_commit(self, client_id: str, partitions: Collection[TopicPartition]) -> None:
        """Note that a worker's consumer is about to commit these partitions."""
        for worker in self._workers:
            if worker is not None and worker.client_id == client_id:
                worker.watch.check_commit(partitions)

    def _on_commit(
        self, group: str, client_id: str, positions: Mapping[TopicPartition, tuple[int, str]]
    ) -> None:
        self._look()
        for partition, (offset, metadata) in positions.items():
            self._hear(metadata)
            self._truth.take_commit(partition, offset, metadata)

    def _on_refusal_for_size(self, client_id: str, size: int) -> None:
        """Check that commits get smaller after a refusal for size, unless answers are lost."""
        now = self._loop.time()
        refusals = self._refusals_for_size.setdefault(client_id, [])
        if not refusals or now - refusals[-1] >= COMMIT_ROUND_SECONDS:
            refusals.append(now)
        if len(refusals) > REFUSALS_MAX:
            raise ViolationError(
                "8 metadata",
                f"{client_id} commits what is refused for its size, {size} now: at {refusals}",
            )

    def hear_log(self, line: str) -> None:
        """A line of the worker's log.

        What is raised here would be swallowed by `logging`: it is raised in `_settle`.
        """
        if KEY in line:
            self._leaks.append(line)

    def _hear(self, *texts: str) -> None:
        """Check invariant 6: the key is nowhere."""
        leak = next((text for text in (*self._leaks, *texts) if KEY in text), None)
        if leak is not None:
            raise ViolationError("6 key", leak[:300])

    def _look(self) -> None:
        """Take note of what has been written to the dead-letter topic and to the parking topic."""
        for topic in (DEAD_LETTER_TOPIC, PARKING_TOPIC):
            for partition, last in self._kafka.last_offsets(topic).items():
                for record in self._kafka.records_after(
                    partition, self._looked_at.get(partition, -1)
                ):
                    self._truth.write(topic, dict(record.headers))
                    self._hear(*(value.decode("utf-8", "replace") for _, value in record.headers))
                self._looked_at[partition] = last

    async def _settle(self) -> None:
        """Wait until everything is committed; restart workers that gave up, as a supervisor would.

        Publish events meanwhile: where only bad rows are left, nobody can distinguish them from an
        API that refuses everything.
        """
        # An API that takes seconds for a row has to come to the end of what it is sent.
        event_every = EVENT_EVERY + round(8 * self._scenario.seconds_per_row)
        for number in range(1, round(LIVENESS_SECONDS / 0.5)):
            if number % event_every == 0:
                self._let_events_come()
            for index, worker in enumerate(self._workers):
                if worker is None or not worker.is_running:
                    if worker is not None:
                        await self._ended(worker)
                    self._workers[index] = self._start(index)
            if not self._behind():
                self._look()
                self._hear()
                return
            await asyncio.sleep(0.5)
        raise ViolationError(
            "7 liveness",
            f"after {LIVENESS_SECONDS:g} s: {self._behind()}; "
            f"members {self._kafka.coordinator.members(GROUP)}",
        )

    def _let_events_come(self) -> None:
        """Publish events for a partition that is behind.

        Where the API takes seconds for a row, each application gets one event at a time. A refused
        row waits for an accepted row of its application: too few are drawn in the time to leave the
        application to chance.
        """
        if self._has_users:
            self._users.publish_newcomers()
        if self._scenario.seconds_per_row <= 1.0:
            for _ in range(EVENTS_AT_ONCE):
                self._producers.publish_valid()
            return
        names = [name.rpartition("-") for name in sorted(self._behind())]
        partitions = [int(number) for topic, _, number in names if topic == TOPIC]
        self._producers.publish_for_each(self._chance.choice(partitions) if partitions else None)

    def _behind(self) -> dict[str, tuple[int, int]]:
        """The partitions not committed to their end: the position, and the last record's offset."""
        behind = {}
        profiles = (PROFILES_TOPIC,) if self._has_profiles else ()
        users = (USERS_TOPIC,) if self._has_users else ()
        for topic in (TOPIC, PARKING_TOPIC, *profiles, *users):
            for partition, last in self._kafka.last_offsets(topic).items():
                committed = self._committed(partition)
                if last >= 0 and committed <= last:
                    behind[f"{topic}-{partition.partition}"] = (committed, last)
        return behind

    def _committed(self, partition: TopicPartition) -> int:
        """-1 for nothing.

        Of a log that was truncated, what the group has committed before says nothing of it.
        """
        committed = self._kafka.coordinator.committed(GROUP, partition)
        offset = committed[0] if committed is not None else -1
        return min(offset, self._truth.committed.get(partition, offset))
