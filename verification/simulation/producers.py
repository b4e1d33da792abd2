"""What producers publish: mostly new events, and now and then a repetition or a mistake.

Also refused events and their corrections, and records that the route doesn't select.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from random import Random

from aiokafka.structs import TopicPartition

from verification.simulation.kafka_model import UNIX_SECONDS, ModelKafka
from verification.simulation.truth import (
    POISON,
    PROFILE_PARTITIONS,
    PROFILES_TOPIC,
    TOPIC,
    USERS_TOPIC,
    Published,
    Truth,
    profile_at,
)
from worker.core.wire.record_headers import REPLAYS

# Longer than any request, and than workers may be without each other's commits.
UNDER_WAY_SECONDS = 12.0
# How the API fails at such an event.
POISONS = ("500", "403", "reset", "hang")
# The API's own limit: 14 days.
EVENT_AGE_SECONDS_MAX = 1_209_600
APPLICATIONS = (1, 2)
# Of records that the route doesn't select.
OTHER_APPLICATION = 3
# How far a wrong clock of a producer is ahead; events may be dated a day ahead.
AHEAD_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class _Sent:
    partition: int
    key: bytes
    value: bytes | None
    record: Published
    is_dated: bool = True


class Producers:
    """All producers of a history.

    A repetition and a correction go to the partition of the original.
    """

    def __init__(
        self,
        kafka: ModelKafka,
        truth: Truth,
        partitions: int,
        chance: Random,
        *,
        poison_share: float = 0.0,
        profile_chance: Random | None = None,
    ) -> None:
        self._kafka = kafka
        self._truth = truth
        self._partitions = partitions
        self._chance = chance
        self._poison_share = poison_share
        self._profile_chance = profile_chance or Random(0)
        self._sent: list[_Sent] = []
        self._to_correct: list[_Sent] = []
        self._number = 0

    def publish(self) -> None:
        """Publish a record of a random kind."""
        self._number += 1
        roll = self._chance.random()
        if roll < 0.05 and self._sent:
            self._send(self._chance.choice(self._sent))
        elif roll < 0.07 and self._to_correct:
            refused = self._to_correct.pop(self._chance.randrange(len(self._to_correct)))
            self._send(self._made("corrected", key=refused.key, partition=refused.partition))
        elif roll < 0.08 and self._sent:
            self._replay(self._chance.choice(self._sent))
        elif roll < 0.09:
            self._send(self._skipped())
        elif roll < 0.11:
            self._send(self._made("broken", is_valid=False, value=b"not json"))
        elif roll < 0.14:
            sent = self._made("refused", is_valid=False)
            self._to_correct.append(sent)
            self._send(sent)
        elif roll < 0.14 + self._poison_share:
            self._send(self._made(f"{POISON}-{self._chance.choice(POISONS)}", is_valid=False))
        elif roll < 0.16:
            # Not repeated or replayed: it may be too old by then.
            self._send(
                self._made("ripe", age_seconds=EVENT_AGE_SECONDS_MAX - self._chance.randint(1, 8))
            )
        else:
            sent = self._made("event", age_seconds=-AHEAD_SECONDS if roll < 0.18 else 0)
            sent = replace(sent, is_dated=not 0.18 <= roll < 0.2)
            self._sent.append(sent)
            self._send(sent)
        if self._chance.random() < 0.01:
            self._kafka.append_control(TOPIC, self._chance.randrange(self._partitions))

    def publish_valid(self, partition: int | None = None) -> None:
        """Publish a valid event, in this partition or in any."""
        self._number += 1
        self._send(self._made("event", partition=partition))

    def publish_for_each(self, partition: int | None = None) -> None:
        """Publish a valid event of each application, in one partition."""
        where = self._chance.randrange(self._partitions) if partition is None else partition
        for application_id in APPLICATIONS:
            self._number += 1
            self._send(self._made("event", partition=where, application_id=application_id))

    def publish_profiles(self) -> None:
        """Publish a few changes of profiles, or none; earlier values of a profile come again."""
        chance = self._profile_chance
        for _ in range(chance.choice((0, 0, 1, 3))):
            partition = chance.randrange(PROFILE_PARTITIONS)
            profile = {
                "application_id": chance.choice((1, 2)),
                "profile_id": f"user-{chance.randrange(3)}",
                "attributes": {"subscribed": chance.random() < 0.5},
            }
            offset = self._kafka.append(
                PROFILES_TOPIC, partition, b"user", json.dumps(profile).encode()
            )
            place = TopicPartition(PROFILES_TOPIC, partition)
            name = profile_at(partition, offset)
            self._truth.publish(place, offset, Published(name, is_valid=True, key=name.encode()))

    def _made(
        self,
        kind: str,
        *,
        is_valid: bool = True,
        key: bytes | None = None,
        partition: int | None = None,
        value: bytes | None = None,
        age_seconds: int = 0,
        application_id: int | None = None,
    ) -> _Sent:
        name = f"{kind}-{self._number}"
        event = {
            "application_id": application_id or (1 if self._chance.random() < 0.7 else 2),
            "profile_id": f"user-{self._number}",
            "event_name": name,
            "event_timestamp": UNIX_SECONDS + int(asyncio.get_running_loop().time()) - age_seconds,
        }
        own_key = b"%d" % self._number if key is None else key
        where = self._chance.randrange(self._partitions) if partition is None else partition
        published = Published(name, is_valid, own_key, may_expire=age_seconds > 0)
        return _Sent(where, own_key, value or json.dumps(event).encode(), published)

    def _skipped(self) -> _Sent:
        """A record that the route skips: of another application, or a tombstone."""
        is_tombstone = self._number % 2 == 0
        sent = self._made("tombstone" if is_tombstone else "unselected")
        other = json.loads(sent.value or b"") | {"application_id": OTHER_APPLICATION}
        return replace(
            sent,
            value=None if is_tombstone else json.dumps(other).encode(),
            record=replace(sent.record, is_skipped=True),
        )

    def _send(self, sent: _Sent, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        offset = self._kafka.append(
            TOPIC,
            sent.partition,
            sent.key,
            sent.value,
            (("id", sent.key), *headers),
            None if sent.is_dated else 0,
        )
        self._truth.publish(TopicPartition(TOPIC, sent.partition), offset, sent.record)

    def _replay(self, sent: _Sent) -> None:
        """Publish a delivered event again as a replay: it has to be delivered once more.

        Only once, and only when no request with it can be under way: a replay beside its original
        is a duplicate.
        """
        event, now = sent.record.event, asyncio.get_running_loop().time()
        if (
            now - self._truth.answered_at.get(event, now) > UNDER_WAY_SECONDS
            and event not in self._truth.wanted
        ):
            self._truth.want_again(sent.record.event)
            self._send(sent, ((REPLAYS, b"1"),))


# Few, so that the records of a profile follow each other closely.
USERS = 12
USER_PARTITIONS = 2


class UserProducer:
    """Publishes records of profiles, keyed by profile: one partition holds all of one."""

    def __init__(
        self, kafka: ModelKafka, truth: Truth, chance: Random, *, poison_share: float
    ) -> None:
        self._kafka = kafka
        self._truth = truth
        self._chance = chance
        self._poison_share = poison_share
        self._number = 0
        # The numbers and profiles of refused records that are not corrected yet.
        self._to_correct: list[tuple[int, int]] = []

    def publish(self) -> None:
        """Publish a record; some are refused, or make the API fail.

        A refused record is corrected soon, under its key: in its own profile, or in another one of
        its lane.
        """
        roll = self._chance.random()
        kind = "value"
        if self._to_correct and roll > 0.7:
            number, profile = self._to_correct.pop()
            self._publish("value", (profile + (0, 2)[number % 2]) % USERS, number)
            return
        if roll < 0.03:
            kind = "refused-value"
        elif roll < 0.03 + self._poison_share:
            kind = f"{POISON}-{self._chance.choice(POISONS)}-value"
        profile = self._chance.randrange(USERS)
        self._publish(kind, profile)
        if kind == "refused-value":
            self._to_correct.append((self._number, profile))

    def publish_newcomers(self) -> None:
        """Publish a record of a new profile for each lane.

        A row that fails can be given up only after other rows of its lane were accepted.
        """
        for application in range(2):
            self._publish("value", USERS + 2 * self._number + application)

    def _publish(self, kind: str, profile: int, corrects: int | None = None) -> None:
        self._number += 1
        event = f"{kind}-{self._number}"
        value = {
            "application_id": 1 + profile % 2,
            "profile_id": f"profile-{profile}",
            "attributes": {"event": event},
        }
        key = b"user-%d" % (self._number if corrects is None else corrects)
        partition = profile % USER_PARTITIONS
        self._truth.profiles.publish(event, f"profile-{profile}", self._number)
        offset = self._kafka.append(
            USERS_TOPIC, partition, b"%d" % profile, json.dumps(value).encode(), (("id", key),)
        )
        record = Published(event, kind == "value", key)
        self._truth.publish(TopicPartition(USERS_TOPIC, partition), offset, record)
