"""The true fate of every record, computed apart from the worker, and the invariants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiokafka.structs import TopicPartition

from verification.simulation.profile_order import ProfileOrder
from verification.simulation.violation import ViolationError, demand_none
from worker.core.model.fault import Reason
from worker.core.model.record import Position, Start
from worker.core.wire import commit_metadata
from worker.core.wire.record_headers import ERRORS_PREFIX, PARKED_PREFIX

TOPIC = "events"
PARKING_TOPIC = f"{TOPIC}.parked"
# Profiles have no time and no key: the same value may come again without being a repetition.
PROFILES_TOPIC = "profiles"
PROFILE_PARTITIONS = 2
# Ordered profiles, keyed by profile: a newer value overwrites an older value.
USERS_TOPIC = "users"
DEAD_LETTER_TOPIC = f"{TOPIC}.dlq"
GROUP = "workers"
# The start of the names of events that make the API fail.
POISON = "poison"


def profile_at(partition: int, offset: int) -> str:
    """The name of a change of a profile: its values may come again, its offset doesn't."""
    return f"profile-{partition}-{offset}"


@dataclass(frozen=True, slots=True)
class Published:
    """A record as its producer meant it.

    `event` is the event's name; a duplicate has the name of its original. `is_valid`: the API takes
    it. `may_expire`: it grows too old within the history. A correction has the key of a refused
    event, and a name of its own. `is_skipped`: the route doesn't select it, or it is a tombstone.
    """

    event: str
    is_valid: bool
    key: bytes
    may_expire: bool = False
    is_skipped: bool = False


@dataclass(slots=True)
class Truth:
    """The ledger of a history.

    `keys_are_evicted`: workers have too little room to remember all that they have delivered.
    """

    commits_come_in_order: bool = True
    keys_are_evicted: bool = False
    published: dict[TopicPartition, dict[int, Published]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    answered_at: dict[str, float] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    answered_keys: set[bytes] = field(default_factory=set)
    wanted: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    written: dict[str, set[tuple[str, int, int]]] = field(
        default_factory=lambda: {"dead": set(), "parked": set()}
    )
    parked: set[str] = field(default_factory=set)
    dead_lettered: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, bytes] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    commits: dict[TopicPartition, list[Position]] = field(default_factory=dict)
    answered_to: dict[str, set[str]] = field(default_factory=dict)
    reasons: dict[str, set[str]] = field(default_factory=dict)
    truncated: dict[TopicPartition, list[Published]] = field(default_factory=dict)
    # The log has lost them before they were settled: they may be delivered, or not.
    perishable: list[Published] = field(default_factory=list)
    profiles: ProfileOrder = field(default_factory=ProfileOrder)
    # True while commits of a partition are about the log before its election.
    is_outdated: Callable[[TopicPartition], bool] = lambda _: False

    def publish(self, partition: TopicPartition, offset: int, record: Published) -> None:
        """Note a record that was written to a topic of the worker."""
        self.published.setdefault(partition, {})[offset] = record
        self.keys[record.event] = record.key

    def forget(self, partition: TopicPartition, end: int) -> None:
        """Forget the records from this offset on: the log has lost them."""
        published = self.published.get(partition, {})
        truncated = self.truncated.setdefault(partition, [])
        for offset in [one for one in published if one >= end]:
            records = truncated if self.is_settled(partition, offset) else self.perishable
            records.append(published.pop(offset))
        for places in self.written.values():
            places -= {
                place for place in places if place[:2] == tuple(partition) and place[2] >= end
            }
        self.committed[partition] = min(self.committed.get(partition, 0), end)

    def remove(self, partition: TopicPartition, begin: int, end: int) -> list[Published]:
        """Forget these records, which no worker has received: retention has removed them."""
        published = self.published.get(partition, {})
        removed = [published.pop(one) for one in sorted(published) if begin <= one < end]
        self.perishable += removed
        return removed

    def want_again(self, event: str) -> None:
        """Note that this delivered event is replayed: it has to be delivered once more."""
        self.wanted[event] = self.accepted[event] + 1

    def receive(self, events: list[str]) -> None:
        """Note that the API has accepted these rows."""
        self.accepted.update(events)

    def answer(self, events: list[str], at_seconds: float, sender: str) -> None:
        """Note that the sender knows the answer."""
        self.answered.update(events)
        self.answered_to.setdefault(sender, set()).update(events)
        self.answered_at.update(dict.fromkeys(events, at_seconds))
        self.answered_keys.update(self.keys[event] for event in events)

    def write(self, topic: str, headers: dict[str, bytes]) -> None:
        """Note a record that was written to the dead-letter topic or to the parking topic."""
        prefix, kind = (
            (ERRORS_PREFIX, "dead") if topic == DEAD_LETTER_TOPIC else (PARKED_PREFIX, "parked")
        )
        partition = TopicPartition(
            headers[prefix + "topic"].decode(), int(headers[prefix + "partition"])
        )
        offset = int(headers[prefix + "offset"])
        self.written[kind].add((*partition, offset))
        event = self.published[partition][offset].event
        if kind == "dead":
            self.dead_lettered[event] += 1
            self.reasons.setdefault(event, set()).add(headers[prefix + "reason"].decode())
        else:
            self.parked.add(event)

    def is_settled(self, partition: TopicPartition, offset: int) -> bool:
        """True if this record is settled: known to be delivered, dead-lettered, or parked."""
        record = self.published[partition].get(offset)
        if record is None or record.is_skipped:
            return True
        named = (partition.topic, partition.partition, offset)
        # Broken records have no key; any other whose key was answered is a duplicate.
        is_known = record.key in self.answered_keys and not record.event.startswith("broken")
        # A repetition of a parked event is its duplicate.
        return is_known or record.event in self.parked or named in self.written["dead"]

    def take_commit(self, partition: TopicPartition, offset: int, metadata: str) -> None:
        """Note what the group's coordinator has of the partition now, and check it."""
        self.commits.setdefault(partition, []).append(Position(offset, metadata))
        if partition.topic != PARKING_TOPIC and not self.is_outdated(partition):
            decoded = commit_metadata.decode(offset, metadata)
            self._check_commit(partition, offset, decoded.settled if decoded is not None else ())

    def _check_commit(
        self, partition: TopicPartition, position: int, settled: tuple[tuple[int, int], ...]
    ) -> None:
        """Check invariant 1: neither the position nor the metadata covers an unsettled record."""
        below = range(self.committed.get(partition, 0), position)
        self._check_settled("1 commit", partition, below)
        for start, end in settled:
            self._check_settled("1 metadata", partition, range(start, end))
        self.committed[partition] = position

    def _check_settled(self, name: str, partition: TopicPartition, covered: range) -> None:
        offsets = self.published.get(partition, {})
        for offset in covered:
            if offset in offsets and not self.is_settled(partition, offset):
                raise ViolationError(
                    name,
                    f"a commit of {partition} covers up to {covered.stop}, "
                    f"{offset} ({offsets[offset]}) is unsettled",
                )

    def check_start(self, start: Start) -> None:
        """Check that a worker starts from the group's last commit.

        Where commits arrive late or come from outside, any of its commits will do.
        """
        partition = TopicPartition(start.assignment.topic, start.assignment.partition)
        commits = self.commits.get(partition, [])
        last = commits[-1] if commits else None
        if partition in self.truncated and start.committed is None:
            # It continues in the truncated log.
            return
        if start.committed != last and (
            self.commits_come_in_order or start.committed not in (None, *commits)
        ):
            raise ViolationError("8 start", f"{start} is not what was committed: {commits[-1:]}")

    def check_sender(self, sender: str, events: list[str]) -> None:
        """Check invariant 8: a sender that knows that an event is loaded doesn't send it again.

        That holds whatever happens to its partition. A sender is a worker and a topic: an event
        that one worker parked and another delivered is received again all the same.
        """
        known = self.answered_to.get(sender, set())
        again = [event for event in events if event in known and event not in self.wanted]
        if again and not self.keys_are_evicted:
            raise ViolationError(
                "8 sent again", f"{sender} sends {again[0]} again, and knows that it is loaded"
            )

    def check_body(self, batch_id: str, body: bytes) -> None:
        """Check invariant 4: a batch id never has two bodies."""
        if self.bodies.setdefault(batch_id, body) != body:
            raise ViolationError("4 body", f"batch {batch_id} was sent with another body")

    def check_end(self, *, may_repeat: bool) -> None:
        """Check the end: nothing lost, nothing valid dead-lettered, no duplicate without cause."""
        published = {
            record.event: record
            for records in (
                *(offsets.values() for offsets in self.published.values()),
                *self.truncated.values(),
                self.perishable,
            )
            for record in records
        }
        events = {event: record for event, record in published.items() if not record.is_skipped}
        self._check_skipped([event for event, record in published.items() if record.is_skipped])
        perishable = {record.event for record in self.perishable}
        self._check_delivered(
            {event: record for event, record in events.items() if event not in perishable}
        )
        self._check_dead_letters(events)
        twice = [
            event for event, count in self.accepted.items() if count > max(1, self.wanted[event])
        ]
        if not may_repeat:
            demand_none("8 duplicates", "events came more than once", twice)

    def _check_skipped(self, skipped: list[str]) -> None:
        read = [event for event in skipped if self.accepted[event] or self.dead_lettered[event]]
        demand_none("9 skipped", "skipped records were read", read)

    def _check_delivered(self, events: dict[str, Published]) -> None:
        """Check that each valid event, and each replay, was loaded, or was too old by then."""
        lost = [
            event
            for event, record in events.items()
            if record.is_valid
            and not self.accepted[event]
            and not self._may_be_dead_lettered(event, record)
        ]
        demand_none("lost", "events", lost)
        missed = [
            event
            for event, count in self.wanted.items()
            if self.accepted[event] < count and not self._may_be_dead_lettered(event, events[event])
        ]
        demand_none("lost replay", "events", missed)

    def _check_dead_letters(self, events: dict[str, Published]) -> None:
        """Check that the events without a chance, and only these, are dead-lettered, and why."""
        missing = [
            event
            for event, record in events.items()
            # A refused event whose correction was delivered first is its duplicate.
            if not record.is_valid
            and not self.dead_lettered[event]
            and record.key not in self.answered_keys
        ]
        demand_none("2 dead letter missing", "events", missing)
        wrongly = [
            event
            for event in self.dead_lettered
            if events[event].is_valid and not self._may_be_dead_lettered(event, events[event])
        ]
        demand_none("2 dead letter of a valid event", "events", wrongly)
        for event, reasons in self.reasons.items():
            if (Reason.FAILS_ALONE in reasons) != event.startswith(POISON):
                raise ViolationError("2 reason", f"{event} was dead-lettered for {reasons}")

    def _may_be_dead_lettered(self, event: str, record: Published) -> bool:
        has_expired = record.may_expire and self.reasons.get(event) == {Reason.TOO_OLD}
        return bool(self.dead_lettered[event]) and has_expired
