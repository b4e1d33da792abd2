"""Faults of the cluster: requested one by one, or drawn at random."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiokafka.errors import (
    BrokerResponseError,
    IllegalGenerationError,
    NotCoordinatorForGroupError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.structs import TopicPartition

# The errors of refused commits. aiokafka raises CommitFailedError for the first three, and tries
# again after the last.
COMMIT_REFUSALS: tuple[type[BrokerResponseError], ...] = (
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    NotCoordinatorForGroupError,
)


class Answer(Enum):
    """The fate of the answer to a request that was carried out."""

    SENT = auto()
    # The connection breaks instead: the client notices at once.
    LOST = auto()
    # The connection stays and is silent: the client notices after its request time-out.
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of one request. With an error the request has no effect."""

    error: type[BrokerResponseError] | None = None
    delay_seconds: float = 0.0
    answer: Answer = Answer.SENT


NO_FAULT = Fault()


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely each fault is, per request of its kind; 0 is never."""

    connection_lost: float = 0.0
    commit_refused: float = 0.0
    commit_answer_lost: float = 0.0
    commit_delayed: float = 0.0
    commit_delay_seconds_max: float = 20.0
    fetch_corrupted: float = 0.0


@dataclass(slots=True)
class Faults:
    """Owns the next fault of each kind of request. Requested faults come before drawn faults."""

    randomness: random.Random
    latency_seconds: tuple[float, float]
    chances: Chances = field(default_factory=Chances)
    leaderless: set[TopicPartition] = field(default_factory=set)
    _asked: defaultdict[int, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    _corrupted: set[TopicPartition] = field(default_factory=set)

    def disturb(self, request: type[Request[Any]], fault: Fault) -> None:
        """Let the next request of this kind, from any client, meet this fault; several queue up."""
        self._asked[request.API_KEY].append(fault)

    def corrupt_fetch(self, partition: TopicPartition) -> None:
        """Corrupt the last batch of the next answer for this partition; later answers are whole."""
        self._corrupted.add(partition)

    def lose_leader(self, partition: TopicPartition) -> None:
        """Take all replicas of this partition away: no leader, no look-up, no write."""
        self.leaderless.add(partition)

    def find_leader(self, partition: TopicPartition) -> None:
        """End what `lose_leader` has begun."""
        self.leaderless.discard(partition)

    def latency(self) -> float:
        """The seconds that a message takes."""
        return self.randomness.uniform(*self.latency_seconds)

    def next(self, api_key: int) -> Fault:
        """The fault of this request; mostly `NO_FAULT`."""
        if self._asked[api_key]:
            return self._asked[api_key].popleft()
        if self._draw(self.chances.connection_lost):
            return Fault(answer=Answer.LOST)
        return self._commit_fault() if api_key == OffsetCommitRequest.API_KEY else NO_FAULT

    def takes_corruption(self, partition: TopicPartition) -> bool:
        """True if this answer is to be corrupted."""
        if partition in self._corrupted:
            self._corrupted.remove(partition)
            return True
        return self._draw(self.chances.fetch_corrupted)

    def _commit_fault(self) -> Fault:
        chances = self.chances
        delay = (
            self.randomness.uniform(0, chances.commit_delay_seconds_max)
            if self._draw(chances.commit_delayed)
            else 0.0
        )
        if self._draw(chances.commit_refused):
            return Fault(self.randomness.choice(COMMIT_REFUSALS), delay)
        if self._draw(chances.commit_answer_lost):
            return Fault(None, delay, self.randomness.choice((Answer.LOST, Answer.NEVER)))
        return Fault(None, delay)

    def _draw(self, chance: float) -> bool:
        return chance > 0 and self.randomness.random() < chance
