"""Mutants of the Kafka edge: how records are received, and how tails are read again."""

from __future__ import annotations

from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

import worker.edges.kafka.consumption
import worker.edges.kafka.start_offsets
import worker.edges.kafka.window_rebuild
import worker.edges.kafka.writer
from verification.simulation.mutants.swap import Mutant, Swap
from worker.core.intake.selection import Selection
from worker.core.progress.ledger import Ledger
from worker.edges.kafka.consumer_health import Watchdog
from worker.edges.kafka.consumption import Consumption
from worker.edges.kafka.leader_epochs import FetchedEpochs, LogState, Resumption, resume
from worker.edges.kafka.offset_lookup import Unavailable, look_up
from worker.edges.kafka.poller import Poller
from worker.edges.kafka.reader import TopicReader
from worker.edges.kafka.receiver import ChunkReceiver, client_partition
from worker.edges.kafka.source import KafkaSource
from worker.edges.kafka.window_rebuild import WindowRebuild


def hold_on_to_a_producer_that_gets_nowhere(swap: Swap) -> None:
    swap(worker.edges.kafka.writer, "GRACE_SECONDS", 1e6)


def receive_of_paused_partitions(swap: Swap) -> None:
    swap(KafkaSource, "pause", lambda self, assignments: None)


def poll_all_partitions_at_once(swap: Swap) -> None:
    async def together(self: Any, paused: Any, is_stopped: Any) -> bool:
        self._fetched.news.clear()
        receiver = self._receiver
        mine = [
            one
            for one in receiver.positions
            if one not in paused and self._rebalances.may_receive(one) and not is_stopped()
        ]
        if not mine:
            return False
        partitions = [ClientPartition(one.topic, one.partition) for one in mine]
        try:
            fetched = await self._consumer.getmany(*partitions, timeout_ms=0, max_records=50)
        except KafkaError:
            fetched = {}
        received = False
        for one, partition in zip(mine, partitions, strict=True):
            position = await self._consumer.position(partition)
            if self._rebalances.may_receive(one):
                received |= await receiver.hand_over(one, fetched.get(partition, ()), position)
        return received

    swap(Poller, "round", together)


def trust_the_position_of_the_client(swap: Swap) -> None:
    receive = ChunkReceiver.receive

    async def trusting(self: Any, assignment: Any) -> bool:
        partition = client_partition(assignment)
        self._expected[assignment] = max(
            self._expected[assignment], await self._consumer.position(partition)
        )
        try:
            await self._consumer.getmany(partition, timeout_ms=0, max_records=1)
        except KafkaError:
            return False
        self._expected[assignment] = await self._consumer.position(partition)
        return await receive(self, assignment)

    swap(ChunkReceiver, "receive", trusting)


def give_up_a_tail_at_the_first_error(swap: Swap) -> None:
    async def read_once(self: WindowRebuild, todo: Any, arrived: Any) -> None:
        async with TopicReader(self._connection) as reader:
            undelivered = await self._undelivered(
                reader, {span.partition.topic for span in todo.spans}
            )
            while todo.spans:
                await self._restore(reader, todo, arrived, undelivered)

    swap(WindowRebuild, "_read", read_once)


def wait_for_a_dead_connection_as_long_as_there_is_time(swap: Swap) -> None:
    swap(worker.edges.kafka.window_rebuild, "REQUEST_SHARE", 1.0)
    swap(worker.edges.kafka.window_rebuild, "CHUNK_SHARE", 1.0)


def leave_a_half_joined_member_behind(swap: Swap) -> None:
    async def close(self: KafkaSource) -> None:
        if self._consumption is not None:
            await self._consumption.consumer.stop()

    swap(KafkaSource, "close", close)


def wait_for_all_partitions_before_any_begins(swap: Swap) -> None:
    async def all_or_none(connection: Any, partitions: Any, epochs: Any = None) -> Any:
        answers = await look_up(connection, partitions, epochs)
        unavailable = [one for one in answers.values() if isinstance(one, Unavailable)]
        if unavailable:
            raise KafkaError(unavailable[0].reason)
        return answers

    swap(worker.edges.kafka.start_offsets, "look_up", all_or_none)


def replace_a_consumer_for_a_partition_that_is_away(swap: Swap) -> None:
    def hasty(self: Watchdog) -> str | None:
        return next((f"no fetch of {one}" for one in self._health.silent()), None)

    swap(Watchdog, "advance", hasty)


def believe_offsets_whatever_the_epoch(swap: Swap) -> None:
    swap(FetchedEpochs, "is_later", lambda self, partition, offset: False)


def go_on_at_the_end_of_a_log_that_was_cut_off(swap: Swap) -> None:
    swap(FetchedEpochs, "taken", lambda self, partition: None)


def give_up_what_is_in_memory_when_retention_removes_the_next_records(swap: Swap) -> None:
    def replaced(*reading: Any) -> Resumption:
        found = resume(*reading)
        return (
            Resumption(found.position, LogState.REPLACED)
            if found.log is LogState.SHORTENED
            else found
        )

    swap(worker.edges.kafka.consumption, "resume", replaced)


def go_on_at_the_cut_whatever_is_unsettled_below(swap: Swap) -> None:
    end = Consumption._end

    def at_the_cut(self: Consumption, assignment: Any, taken: Any, resumption: Resumption) -> int:
        end(self, assignment, taken, resumption)
        return resumption.position

    swap(Consumption, "_end", at_the_cut)


def leave_skipped_records_unsettled(swap: Swap) -> None:
    swap(Ledger, "skip_records", lambda self, assignment, skipped: None)


def read_what_is_not_selected(swap: Swap) -> None:
    swap(Selection, "split", lambda self, records: (records, []))


def skip_what_cannot_be_read(swap: Swap) -> None:
    has_values = Selection._has_values

    def hasty(self: Selection, value: bytes) -> bool:
        return value.startswith(b"{") and has_values(self, value)

    swap(Selection, "_has_values", hasty)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        receive_of_paused_partitions,
        poll_all_partitions_at_once,
        trust_the_position_of_the_client,
        give_up_a_tail_at_the_first_error,
        wait_for_a_dead_connection_as_long_as_there_is_time,
        leave_a_half_joined_member_behind,
        wait_for_all_partitions_before_any_begins,
        replace_a_consumer_for_a_partition_that_is_away,
        hold_on_to_a_producer_that_gets_nowhere,
        believe_offsets_whatever_the_epoch,
        go_on_at_the_end_of_a_log_that_was_cut_off,
        give_up_what_is_in_memory_when_retention_removes_the_next_records,
        go_on_at_the_cut_whatever_is_unsettled_below,
        leave_skipped_records_unsettled,
        read_what_is_not_selected,
        skip_what_cannot_be_read,
    )
}
