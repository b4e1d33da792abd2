"""Safeguards, each switched off by a few lines: the simulation must notice every one.

Test code only: nothing in the worker knows of it. A mutant is a function that swaps attributes on the worker's classes and
modules for the time of one history.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClientPartition

import tests.simulation.worker_life
import worker.assembly
import worker.delivery.dispatcher
import worker.edges.tail
import worker.leaving
import worker.pipeline
import worker.progress.drains
import worker.progress.hints
from worker.dedup.window import Admission, Window
from worker.delivery.bisect import Bisections, Verdict
from worker.delivery.dispatcher import Dispatcher
from worker.delivery.limiter import Limiter
from worker.delivery.outcome import Delivered, Outcome, Refused, Retry, RetryKind, classify
from worker.delivery.queue import Queue
from worker.edges.kafka_source import KafkaSource
from worker.edges.poller import Poller
from worker.edges.rebalance import Rebalances
from worker.edges.tail import Tails
from worker.edges.topic_reader import TopicReader
from worker.leaving import Leaving
from worker.model.answer import Answer, Response
from worker.model.batch import Batch
from worker.model.event import Lost, TailRead
from worker.progress.commits import Commits
from worker.progress.hints import Hints
from worker.progress.ledger import Ledger
from worker.progress.pressure import MemoryGauge
from worker.progress.tracker import Tracker
from worker.settling import Settling

Swap = Callable[[object, str, object], None]
Mutant = Callable[[Swap], None]


def commit_the_highest_offset_seen(swap: Swap) -> None:
    swap(Tracker, "safe_position", property(lambda self: self._position))
    swap(Tracker, "settled_ranges", lambda self: [])


def settle_answers_of_another_epoch(swap: Swap) -> None:
    def settle(self: Ledger, entries: Sequence[Any]) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        for entry in entries:
            for assignment in self.offsets:
                if assignment.topic_partition == entry.assignment.topic_partition:
                    self.offsets.tracker(assignment)._unsettled.pop(entry.record.offset, None)
                    counts[assignment] = counts.get(assignment, 0) + 1
        self.let_go(entries)
        return counts

    swap(Ledger, "_settle", settle)


def mark_as_delivered_before_the_answer(swap: Swap) -> None:
    admit = Window.admit

    def eager(self: Window, rows: Any, at: float) -> Admission:
        admission = admit(self, rows, at)
        for row in admission.fresh:
            self._delivered.add(row.key, at)
        return admission

    swap(Window, "admit", eager)


def _taken_for_success(*statuses: int) -> Mutant:
    def judge(answer: Answer, **options: Any) -> Outcome:
        return Delivered() if isinstance(answer, Response) and answer.status in statuses else classify(answer, **options)

    return lambda swap: swap(worker.delivery.dispatcher, "classify", judge)


def commit_after_the_release(swap: Swap) -> None:
    # Of what has been taken away as well: as if nobody kept count.
    swap(Rebalances, "may_commit", lambda self, assignment: True)
    swap(worker.pipeline.Pipeline, "_commit", _commit_all_ever)


def _commit_all_ever(self: Any, now: Any) -> bool:
    positions = self._ledger.offsets.to_commit()
    ever = self.__dict__.setdefault("ever", {})
    ever.update({one: type(position)(position.offset + 5, "") for one, position in positions.items() if one not in ever})
    from worker.model.command import Commit

    gone = {one: position for one, position in ever.items() if one not in self._ledger.offsets}
    self._commits.start(now.monotonic_seconds, has_positions=bool(positions))
    if positions:
        self._commands.append(Commit(positions | gone))
    return bool(positions)


def drop_linked_duplicates(swap: Swap) -> None:
    def withdraw(self: Window, rows: Any) -> list[Any]:
        for row in rows:
            del self._in_flight[row.key]
            self._linked.pop(row.key, None)
        return []

    swap(Window, "withdraw", withdraw)


def forget_the_fence(swap: Swap) -> None:
    swap(Leaving, "_give_up", lambda self, assignments, now: None)


def ignore_that_partitions_are_lost(swap: Swap) -> None:
    handle = worker.pipeline.Pipeline._rebalanced

    def deaf(self: Any, event: Any, now: Any) -> None:
        if not isinstance(event, Lost):
            handle(self, event, now)

    swap(worker.pipeline.Pipeline, "_rebalanced", deaf)


def settle_dead_letters_before_they_are_acknowledged(swap: Swap) -> None:
    bury = Settling.bury

    def hasty(self: Settling, rejections: Any) -> None:
        bury(self, rejections)
        self._rooms.ledger.bury(rejections)

    swap(Settling, "bury", hasty)
    swap(Settling, "buried", lambda self, rejections: None)


def settle_parked_records_before_they_are_acknowledged(swap: Swap) -> None:
    park = Settling.park

    def hasty(self: Settling, rows: Any) -> None:
        park(self, rows)
        self._rooms.ledger.park(rows)

    swap(Settling, "park", hasty)
    swap(Settling, "parked", lambda self, rows, now: None)


def send_another_body_after_an_ambiguous_answer(swap: Swap) -> None:
    delay = Queue.delay

    def reordered(self: Queue, batch: Batch, due: float) -> None:
        delay(self, replace(batch, rows=tuple(reversed(batch.rows))), due)

    swap(Queue, "delay", reordered)


def receive_of_paused_partitions(swap: Swap) -> None:
    swap(KafkaSource, "pause", lambda self, assignments: None)


def poll_all_partitions_at_once(swap: Swap) -> None:
    async def together(self: Any, paused: Any, is_stopped: Any) -> bool:
        mine = [one for one in self._expected if one not in paused and self._rebalances.may_receive(one) and not is_stopped()]
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
                received |= await self._hand_over(one, fetched.get(partition, ()), position)
        return received

    swap(Poller, "round", together)


def trust_the_position_of_the_client(swap: Swap) -> None:
    poll = Poller._poll

    async def trusting(self: Any, assignment: Any) -> bool:
        partition = ClientPartition(assignment.topic, assignment.partition)
        self._expected[assignment] = max(self._expected[assignment], await self._consumer.position(partition))
        try:
            await self._consumer.getmany(partition, timeout_ms=0, max_records=1)
        except KafkaError:
            return False
        self._expected[assignment] = await self._consumer.position(partition)
        return await poll(self, assignment)

    swap(Poller, "_poll", trusting)


def bisect_only_the_first_half(swap: Swap) -> None:
    refuse = Bisections.refuse

    def lazy(self: Bisections, batch: Batch, refusal: Any) -> Verdict:
        verdict = refuse(self, batch, refusal)
        for piece in verdict.pieces[1:]:
            self.end(piece.id)
        return replace(verdict, pieces=verdict.pieces[:1])

    swap(Bisections, "refuse", lazy)


def dead_letter_a_refused_batch_whole(swap: Swap) -> None:
    from worker.delivery.settlement import Refusal

    def harsh(self: Bisections, batch: Batch, refusal: Any) -> Verdict:
        return Verdict(guilty=tuple(Refusal(row, refusal.fault, refusal.http_status) for row in batch.rows))

    swap(Bisections, "refuse", harsh)


def remember_what_was_not_committed(swap: Swap) -> None:
    swap(Hints, "names", lambda self, offset, position: True)


def _recall(swap: Swap, change: Callable[[TailRead], TailRead]) -> None:
    recall = worker.pipeline.Pipeline._recall
    swap(worker.pipeline.Pipeline, "_recall", lambda self, event, now: recall(self, change(event), now))


def remember_what_was_refused(swap: Swap) -> None:
    _recall(swap, lambda event: replace(event, refused=frozenset()))


def remember_parked_records_by_their_key(swap: Swap) -> None:
    _recall(swap, lambda event: replace(event, parked=frozenset()))

    def park(self: Window, rows: Any, at: float) -> tuple[list[Any], list[Any]]:
        return self.deliver(rows, at), []

    swap(Window, "park", park)


def share_one_window_with_the_parking_topic(swap: Swap) -> None:
    route = worker.assembly._route
    shared: list[Window] = []

    def sharing(*arguments: Any) -> Any:
        made = route(*arguments)
        shared.append(made.window)
        return replace(made, window=shared[(len(shared) - 1) // 2 * 2])

    def park(self: Window, rows: Any, at: float) -> tuple[list[Any], list[Any]]:
        return self.deliver(rows, at), []

    swap(worker.assembly, "_route", sharing)
    swap(Window, "park", park)


def take_replays_for_duplicates(swap: Swap) -> None:
    import worker.intake.intake

    swap(worker.intake.intake, "is_replay", lambda record: False)


def keep_the_key_of_a_refused_row(swap: Swap) -> None:
    def keep(self: Window, rows: Any) -> list[Any]:
        for row in rows:
            self._delivered.add(row.key, 0.0)
            del self._in_flight[row.key]
        return []

    swap(Window, "withdraw", keep)


def send_until_the_very_end_of_a_drain(swap: Swap) -> None:
    swap(worker.progress.drains, "QUIET_SHARE", 0.0)


def rebuild_no_window(swap: Swap) -> None:
    async def nothing(self: Any, arrived: Any, known_from: Any) -> None:
        return

    swap(Tails, "read", nothing)


def give_up_a_tail_at_the_first_trouble(swap: Swap) -> None:
    async def read_once(self: Tails, todo: Any, arrived: Any) -> None:
        async with TopicReader(self._connection) as reader:
            not_delivered = await self._not_delivered(reader, {span.partition.topic for span in todo.spans})
            while todo.spans:
                await self._recall(reader, todo, arrived, not_delivered)

    swap(Tails, "_read", read_once)


def wait_for_a_dead_connection_as_long_as_there_is_time(swap: Swap) -> None:
    swap(worker.edges.tail, "REQUEST_SHARE", 1.0)
    swap(worker.edges.tail, "CHUNK_SHARE", 1.0)


def leave_a_half_joined_member_behind(swap: Swap) -> None:
    async def close(self: KafkaSource) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    swap(KafkaSource, "close", close)


def send_without_a_limit(swap: Swap) -> None:
    swap(Limiter, "free_at", lambda self: 0.0)


def send_what_has_grown_too_old(swap: Swap) -> None:
    swap(Dispatcher, "_without_expired", lambda self, batch, now, settlement: batch)


def open_the_breaker_for_refusals(swap: Swap) -> None:
    give_back = Limiter.give_back

    def strict(self: Limiter, permit: Any, outcome: Outcome, at: float) -> None:
        is_refusal = isinstance(outcome, Refused)
        give_back(self, permit, Retry("refused", 0.0, RetryKind.FAILED) if is_refusal else outcome, at)

    swap(Limiter, "give_back", strict)


def believe_hints_without_their_checksum(swap: Swap) -> None:
    def decode(position: int, metadata: str) -> Hints | None:
        try:
            checked = urlsafe_b64decode(metadata.removeprefix("1:") + "==")
        except ValueError:
            return None
        return worker.progress.hints._hints(position, checked[:-4])

    swap(worker.progress.hints, "decode", decode)


def ignore_the_hints(swap: Swap) -> None:
    swap(Tracker, "is_settled", lambda self, offset: False)


def commit_without_hints(swap: Swap) -> None:
    encode = worker.progress.hints.encode
    swap(worker.progress.hints, "encode", lambda position, floor, settled: encode(position, floor, []))


def hold_whatever_comes(swap: Swap) -> None:
    swap(MemoryGauge, "is_high", property(lambda self: False))


def leave_the_key_in_what_the_api_says(swap: Swap) -> None:
    swap(tests.simulation.worker_life, "excerpt_of", lambda body, key: body.decode())


def commit_seldom(swap: Swap) -> None:
    start = Commits.start
    swap(Commits, "start", lambda self, at, **options: start(self, at + 2.0, **options))


def dead_letter_small_batches_whatever_was_refused_before(swap: Swap) -> None:
    swap(Bisections, "_is_systemic", lambda self, bisection, application_id: False)


def let_a_task_die_unobserved(swap: Swap) -> None:
    parked = Settling.parked

    async def fail() -> None:
        raise RuntimeError("nobody looks")

    def careless(self: Settling, rows: Any, now: Any) -> None:
        asyncio.get_running_loop().create_task(fail())
        parked(self, rows, now)

    swap(Settling, "parked", careless)


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        commit_the_highest_offset_seen,
        settle_answers_of_another_epoch,
        mark_as_delivered_before_the_answer,
        commit_after_the_release,
        drop_linked_duplicates,
        forget_the_fence,
        ignore_that_partitions_are_lost,
        settle_dead_letters_before_they_are_acknowledged,
        settle_parked_records_before_they_are_acknowledged,
        send_another_body_after_an_ambiguous_answer,
        receive_of_paused_partitions,
        poll_all_partitions_at_once,
        trust_the_position_of_the_client,
        bisect_only_the_first_half,
        dead_letter_a_refused_batch_whole,
        remember_what_was_not_committed,
        remember_what_was_refused,
        remember_parked_records_by_their_key,
        share_one_window_with_the_parking_topic,
        take_replays_for_duplicates,
        keep_the_key_of_a_refused_row,
        send_until_the_very_end_of_a_drain,
        rebuild_no_window,
        give_up_a_tail_at_the_first_trouble,
        wait_for_a_dead_connection_as_long_as_there_is_time,
        leave_a_half_joined_member_behind,
        send_without_a_limit,
        send_what_has_grown_too_old,
        open_the_breaker_for_refusals,
        believe_hints_without_their_checksum,
        ignore_the_hints,
        commit_without_hints,
        hold_whatever_comes,
        leave_the_key_in_what_the_api_says,
        commit_seldom,
        dead_letter_small_batches_whatever_was_refused_before,
        let_a_task_die_unobserved,
    )
} | {
    "follow_a_redirect": _taken_for_success(302),
    "count_a_404_as_success": _taken_for_success(404),
    "count_any_2xx_as_success": _taken_for_success(201),
    "count_a_503_as_success": _taken_for_success(503),
}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """Switch this safeguard off; None leaves all on."""
    with ExitStack() as stack:

        def swap(owner: object, attribute: str, value: object) -> None:
            before = vars(owner)[attribute]
            setattr(owner, attribute, value)
            stack.callback(setattr, owner, attribute, before)

        if name is not None:
            MUTANTS[name](swap)
        yield
