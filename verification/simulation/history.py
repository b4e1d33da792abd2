"""A history from its seed: publish, disturb, end all faults, and check the end."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from dataclasses import dataclass
from random import Random

from aiokafka.structs import TopicPartition

from verification.simulation.absences import Absences, reads_users
from verification.simulation.api_model import ModelApi
from verification.simulation.crashes import Crashes, swallowed_errors_noted, unexpected
from verification.simulation.disturbances import Disturbances
from verification.simulation.kafka_faults import Chances
from verification.simulation.kafka_model import ModelKafka
from verification.simulation.leaks import Leaks, log_shown
from verification.simulation.observer import Observer
from verification.simulation.outage_losses import OutageLosses
from verification.simulation.producers import USER_PARTITIONS, Producers, UserProducer
from verification.simulation.scenario import DEDUP_ROWS_LARGE, Mood, Scenario, draw
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
from verification.simulation.worker_life import commits_seen
from verification.simulation.workers import Workers

HISTORY_LINES_MAX = 40
# Events published meanwhile, at once (for several workers and applications), and how often in
# steps of half a second.
EVENTS_AT_ONCE = 4
EVENT_EVERY = 4
# The violation of a history in which a task of a worker has raised an error, or a part of it has
# crashed: see `crashes`.
TASK_DIED = "7 a task died"
# All that a worker closes is closed within this time.
LEAVING_SECONDS = 1.0


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
    leaks = Leaks()
    crashes = Crashes()
    history = _History(scenario, truth, leaks, lines, crashes)
    try:
        with (
            commits_seen(lambda *commit: history.workers.check_commit(*commit)),
            log_shown(leaks.read_log),
            swallowed_errors_noted(crashes),
        ):
            run(
                history.play(),
                seconds_max=scenario.seconds + 3 * scenario.liveness_seconds + 120,
                complaints=complaints,
            )
    except ViolationError as error:
        violation, text = error.name, str(error)
    except VirtualTimeError as error:
        violation, text = "7 liveness", str(error)
    except Exception as error:  # noqa: BLE001  # whatever a task dies of is a violation
        violation, text = TASK_DIED, f"{type(error).__name__}: {error}"
    if not violation:
        may_be_unclosed = history.workers.has_killed
        del history
        # Python reports what died unobserved when it is collected.
        gc.collect()
        if left := unexpected(complaints, may_be_unclosed=may_be_unclosed):
            violation, text = "7 unobserved", left[0]
    crashes.note_complaints(complaints)
    if crashes.found and violation != TASK_DIED:
        violation, text = TASK_DIED, f"{crashes.found[0]}; {text}"
    repeated = sum(count - 1 for count in truth.accepted.values())
    return Outcome(seed, violation, text, tuple(lines), len(truth.accepted), repeated)


class _History:
    def __init__(
        self,
        scenario: Scenario,
        truth: Truth,
        leaks: Leaks,
        lines: deque[str],
        crashes: Crashes,
    ) -> None:
        self._scenario = scenario
        self._truth = truth
        self._leaks = leaks
        self._lines = lines
        self._crashes = crashes
        self._chance = Random(scenario.seed + 2)
        self._has_users = reads_users(scenario)
        # The partitions of each topic.
        self._topics = {
            TOPIC: scenario.partitions,
            PARKING_TOPIC: 2,
            **({PROFILES_TOPIC: PROFILE_PARTITIONS} if scenario.has_profiles else {}),
            DEAD_LETTER_TOPIC: 1,
            **({USERS_TOPIC: USER_PARTITIONS} if self._has_users else {}),
        }

    async def play(self) -> None:
        """Safety first, then liveness."""
        scenario = self._scenario
        self._loop = asyncio.get_running_loop()
        self._build()
        absences = Absences(self._kafka, scenario, self.workers.held)
        disturbances = Disturbances(scenario, self._kafka, self.workers, self._chance, self._say)
        self._say(f"away: {absences.drawn}; clocks: {self.workers.jumps}")
        self.workers.start_all()
        await asyncio.gather(
            self._publish(),
            self._publish_users(),
            absences.play(),
            disturbances.move(),
            *(disturbances.at(moment) for moment in scenario.moments),
        )
        self._say("all faults end")
        self._kafka.faults.chances = Chances()
        self._api.heal()
        await self._settle()
        if await truncate(self._kafka, scenario, self._truth, self._producers):
            self._say("logs were truncated")
            await self._settle()
        losses = OutageLosses(scenario, self._kafka, self._truth, self._api, self.workers)
        if await losses.play(self._producers):
            self._say("logs have lost records in an outage")
            await self._settle()
            losses.check_end()
        self._check_end()
        absences.check_rebuilds(sum(worker.parts.source.rebuilds for worker in self.workers))
        await self.workers.stop_all()
        await asyncio.sleep(LEAVING_SECONDS)
        self._check_that_nothing_remains()

    def _build(self) -> None:
        """Build the cluster, the API, the producers and the places of the workers."""
        scenario, truth = self._scenario, self._truth
        self._kafka = ModelKafka(
            Random(scenario.seed + 3), on_commit=lambda *commit: self._observer.on_commit(*commit)
        )
        for topic, count in self._topics.items():
            self._kafka.add_topic(topic, count)
        self._observer = Observer(self._kafka, truth, self._leaks)
        self._kafka.coordinator.limit_commit_metadata(
            scenario.commit_metadata_bytes_max, self._observer.on_refusal_for_size
        )
        self._kafka.faults.chances = scenario.chances
        self._api = ModelApi(scenario, truth)
        self._producers = Producers(
            self._kafka,
            truth,
            scenario.partitions,
            self._chance,
            poison_share=scenario.poison_share,
            profile_chance=Random(scenario.seed + 6),
        )
        self._users = UserProducer(
            self._kafka, truth, Random(scenario.seed + 7), poison_share=scenario.poison_share
        )
        self.workers = Workers(scenario, self._kafka, self._api, self._say, self._crashes)

    def _check_end(self) -> None:
        # A worker whose clock is ahead takes the tails of its partitions for too old until the API
        # has given the time.
        has_forgotten = any(jump.seconds > 0 for jump in self.workers.jumps)
        may_repeat = self._scenario.mood is not Mood.CALM or has_forgotten
        self._truth.check_end(may_repeat=may_repeat)
        if not may_repeat:
            self._truth.profiles.check_last_values(self._truth.accepted)

    def _check_that_nothing_remains(self) -> None:
        """Check that a worker that ended by itself has left no connection and no task."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks and not self.workers.has_killed:
            raise ViolationError(
                "5 remains", f"{len(tasks)} tasks: {[str(task.get_coro()) for task in tasks][:5]}"
            )

    def _say(self, text: str) -> None:
        self._lines.append(f"{self._loop.time():8.2f} {text}")

    async def _publish(self) -> None:
        left = self._scenario.records
        pause = self._scenario.seconds / max(1, left / 20)
        while left > 0:
            burst = min(left, self._chance.randint(1, 40))
            for _ in range(burst):
                self._producers.publish()
            if self._scenario.has_profiles:
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

    async def _settle(self) -> None:
        """Wait until everything is committed; restart workers that gave up, as a supervisor would.

        Publish events meanwhile: where only bad rows are left, a worker can't distinguish them
        from an API that refuses everything.
        """
        # An API that takes seconds for a row has to come to the end of what it is sent.
        event_every = EVENT_EVERY + round(8 * self._scenario.seconds_per_row)
        for number in range(1, round(self._scenario.liveness_seconds / 0.5)):
            if number % event_every == 0:
                self._let_events_come()
            await self.workers.restart_ended()
            if not self._behind():
                self._observer.read_topics()
                self._leaks.check()
                return
            await asyncio.sleep(0.5)
        raise ViolationError(
            "7 liveness",
            f"after {self._scenario.liveness_seconds:g} s: {self._behind()}; "
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
        for topic in [name for name in self._topics if name != DEAD_LETTER_TOPIC]:
            for partition, last in self._kafka.last_offsets(topic).items():
                committed = self._committed(partition)
                if last >= 0 and committed <= last:
                    behind[f"{topic}-{partition.partition}"] = (committed, last)
        return behind

    def _committed(self, partition: TopicPartition) -> int:
        """The committed offset; -1 for none.

        After a truncation, the position that was committed before it doesn't count.
        """
        committed = self._kafka.coordinator.committed(GROUP, partition)
        offset = committed[0] if committed is not None else -1
        return min(offset, self._truth.committed.get(partition, offset))
