"""A consumer group as its coordinator on the broker keeps it: the classic protocol, eager.

    Empty → Preparing (members rejoin) → Completing (the leader assigns) → Stable → Preparing …

Source: Kafka's `ClassicGroup` and `GroupMetadataManager` (group-coordinator module), KIP-62
(sessions and rebalance time-out), KIP-394 (a member id before the first join).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

from aiokafka.errors import (
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    MemberIdRequired,
    NoError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from verification.simulation.kafka_member import ErrorType, Joined, Joining, Member, Synced


class State(Enum):
    """The state of the group between two rebalances. The values are those of DescribeGroups."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(slots=True)
class Group:
    """A group. Changes take effect at once; only the answers to join and sync wait."""

    group_id: str
    is_reachable: Callable[[], bool]
    generation: int = 0
    state: State = State.EMPTY
    leader_id: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    committed: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    _pending: dict[str, asyncio.TimerHandle] = field(default_factory=dict)
    _deadline: asyncio.TimerHandle | None = None
    _numbers: count[int] = field(default_factory=count)

    @property
    def protocol(self) -> str:
        """The first protocol that all members share."""
        members = list(self.members.values())
        shared = set.intersection(
            *({name for name, _ in member.joining.protocols} for member in members)
        )
        return next(name for name, _ in members[0].joining.protocols if name in shared)

    # --- what members send ------------------------------------------------------------------------

    async def join(self, joining: Joining) -> Joined:
        """Add a member; answer when every member has joined, or the time for that is over."""
        if self._is_inconsistent(joining):
            return Joined(InconsistentGroupProtocolError, joining.member_id)
        if not joining.member_id:
            return self._promise_member_id(joining)
        pending = self._pending.pop(joining.member_id, None)
        if pending is not None:
            pending.cancel()
            self.members[joining.member_id] = Member(joining)
        elif joining.member_id not in self.members:
            return Joined(UnknownMemberIdError, "")
        member = self.members[joining.member_id]
        is_unchanged = member.joining.protocols == joining.protocols and pending is None
        member.joining = joining
        if is_unchanged and self._answers_at_once(joining.member_id):
            return self._joined(joining.member_id)
        waiter = member.join()
        self._renew_session(joining.member_id)
        if self.state is not State.PREPARING:
            self.rebalance()
        self._complete_if_all_joined()
        return await waiter

    async def sync(self, member_id: str, generation: int, assignments: dict[str, bytes]) -> Synced:
        """Answer with the member's partitions once the leader has assigned."""
        error = self._fault(member_id, generation)
        if error is not None:
            return Synced(error)
        if self.state is State.PREPARING:
            return Synced(RebalanceInProgressError)
        self._renew_session(member_id)
        if self.state is State.STABLE:
            return Synced(NoError, self.members[member_id].assignment)
        waiter = self.members[member_id].sync()
        if member_id == self.leader_id:
            self._assign(assignments)
        return await waiter

    def heartbeat(self, member_id: str, generation: int) -> ErrorType:
        """Renew the session, during a rebalance too."""
        error = self._fault(member_id, generation)
        if error is not None:
            return error
        self._renew_session(member_id)
        return RebalanceInProgressError if self.state is State.PREPARING else NoError

    def leave(self, member_id: str) -> ErrorType:
        """Remove a member that leaves: the others needn't wait for it."""
        pending = self._pending.pop(member_id, None)
        if pending is not None:
            pending.cancel()
            self._complete_if_all_joined()
            return NoError
        if member_id not in self.members:
            return UnknownMemberIdError
        self.remove(member_id)
        return NoError

    def commit(
        self, member_id: str, generation: int, offsets: dict[TopicPartition, OffsetAndMetadata]
    ) -> ErrorType:
        """Commit for members of this generation until the next is complete.

        Which member has the partition isn't checked. Without a generation, as from a client that is
        no member, a commit is accepted while the group is empty.
        """
        if generation >= 0 or self.state is not State.EMPTY:
            error = self._fault(member_id, generation)
            if error is not None:
                return error
            if self.state is State.COMPLETING:
                return RebalanceInProgressError
            self._renew_session(member_id)
        self.committed.update(offsets)
        return NoError

    # --- what happens to it -----------------------------------------------------------------------

    def rebalance(self) -> None:
        """Ask every member to join again, and wait for the slowest as long as it has asked for."""
        for member in self.members.values():
            member.answer_sync(Synced(RebalanceInProgressError))
        self.state = State.PREPARING
        self._stop_deadline()
        seconds = max(
            [member.joining.rebalance_timeout_seconds for member in self.members.values()],
            default=0.0,
        )
        self._deadline = asyncio.get_running_loop().call_later(seconds, self._end_joining)

    def remove(self, member_id: str) -> None:
        """Remove a member that has left, or whose session is over."""
        member = self.members.pop(member_id)
        member.end_session()
        member.answer_join(Joined(UnknownMemberIdError, ""))
        member.answer_sync(Synced(UnknownMemberIdError))
        if self.leader_id == member_id:
            self.leader_id = ""
        if self.state in (State.STABLE, State.COMPLETING):
            self.rebalance()
        self._complete_if_all_joined()

    # --- the rebalance ----------------------------------------------------------------------------

    def _is_inconsistent(self, joining: Joining) -> bool:
        """True if the other members share no protocol with it."""
        others = [
            member.joining.protocols
            for one, member in self.members.items()
            if one != joining.member_id
        ]
        shared = {name for name, _ in joining.protocols}
        for protocols in others:
            shared &= {name for name, _ in protocols}
        return bool(others) and not shared

    def _promise_member_id(self, joining: Joining) -> Joined:
        # Numbered, not random: the assignor gives partitions in the order of the member ids.
        member_id = f"{joining.client_id}-{next(self._numbers):06d}"
        timer = asyncio.get_running_loop().call_later(
            joining.session_timeout_seconds, self._forget, member_id
        )
        self._pending[member_id] = timer
        return Joined(MemberIdRequired, member_id)

    def _forget(self, member_id: str) -> None:
        self._pending.pop(member_id, None)
        self._complete_if_all_joined()

    def _answers_at_once(self, member_id: str) -> bool:
        """True for a member that missed its answer; the leader's new join starts a rebalance."""
        if self.state is State.COMPLETING:
            return True
        return self.state is State.STABLE and member_id != self.leader_id

    def _joined(self, member_id: str) -> Joined:
        protocol = self.protocol
        members: tuple[tuple[str, None, bytes], ...] = ()
        if member_id == self.leader_id:
            members = tuple(
                (one, None, dict(member.joining.protocols)[protocol])
                for one, member in self.members.items()
            )
        return Joined(NoError, member_id, self.generation, protocol, self.leader_id, members)

    def _complete_if_all_joined(self) -> None:
        if self.state is not State.PREPARING or self._pending:
            return
        if all(member.has_joined for member in self.members.values()):
            self._end_joining()

    def _end_joining(self) -> None:
        """Begin the next generation with the members that have joined."""
        self._stop_deadline()
        late = [member_id for member_id, member in self.members.items() if not member.has_joined]
        for member_id in late:
            self.members.pop(member_id).end_session()
        self.generation += 1
        if not self.members:
            self.state, self.leader_id = State.EMPTY, ""
            return
        self.state = State.COMPLETING
        if self.leader_id not in self.members:
            self.leader_id = next(iter(self.members))
        for member_id, member in self.members.items():
            member.answer_join(self._joined(member_id))
            self._renew_session(member_id)

    def _assign(self, assignments: dict[str, bytes]) -> None:
        self.state = State.STABLE
        for member_id, member in self.members.items():
            member.assignment = assignments.get(member_id, b"")
            member.answer_sync(Synced(NoError, member.assignment))

    # --- sessions ---------------------------------------------------------------------------------

    def _fault(self, member_id: str, generation: int) -> ErrorType | None:
        if member_id not in self.members:
            return UnknownMemberIdError
        return IllegalGenerationError if generation != self.generation else None

    def _renew_session(self, member_id: str) -> None:
        self.members[member_id].renew_session(lambda: self._end_session(member_id))

    def _end_session(self, member_id: str) -> None:
        # A coordinator that is down hears no heartbeat, and starts anew.
        if self.members[member_id].is_waiting or not self.is_reachable():
            self._renew_session(member_id)
        else:
            self.remove(member_id)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
