"""What aiokafka's consumer does not offer, read from its private parts or added to them.

- While a partition has no leader, the fetcher asks for the cluster's metadata again as soon as it
  has an answer. With nothing else to fetch that keeps a core of the broker and one of the worker
  busy. `pace_look_ups_of_leaders` lets it ask twice a second.
- Nothing shows whether the group's coordinator still answers. A member without partitions fetches
  nothing and commits nothing, so only its heartbeats can show it: see `note_coordinator_answers`.
- `subscribe` drops the assignment at once, and nothing can be committed before the rebalance that
  follows: see `add_topics`.
- Nothing shows the leader epochs of fetched batches: see `show_batches`.
- Nothing shows which partitions have fetched records, and nothing waits for any of them without
  taking some. To poll each of 300 partitions fifty times a second costs a tenth of a core: see
  `Fetched`.
- Each record is copied into a dataclass, which costs a third of all reading. `hand_on_records` lets
  the fetcher hand on the decoder's own record.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import FetchError, FetchResult
from aiokafka.consumer.group_coordinator import GroupCoordinator, NoGroupCoordinator
from aiokafka.errors import NoError, RebalanceInProgressError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.structs import TopicPartition

from worker.core.model.record import Record

LEADER_SECONDS = 0.5
# What a coordinator answers to a member. In a rebalance the consumer is still a member.
AS_A_MEMBER = (NoError.errno, RebalanceInProgressError.errno)


def pace_look_ups_of_leaders(consumer: AIOKafkaConsumer) -> None:
    """Let this started consumer look for missing leaders at most every `LEADER_SECONDS`."""
    fetcher: Any = consumer._fetcher
    clock = asyncio.get_running_loop().time
    actions = fetcher._get_actions_per_node
    ask_at = 0.0

    def paced(assignment: Any) -> tuple[Any, ...]:
        nonlocal ask_at
        fetches, resets, timeout, lacks_leader, resumed = actions(assignment)
        if lacks_leader:
            lacks_leader = clock() >= ask_at
            if lacks_leader:
                ask_at = clock() + LEADER_SECONDS
        return fetches, resets, timeout, lacks_leader, resumed

    fetcher._get_actions_per_node = paced


def note_coordinator_answers(consumer: AIOKafkaConsumer, answered: Callable[[], None]) -> None:
    """Call `answered` whenever the coordinator answers this consumer as a member of its group.

    Args:
        consumer: not yet started.
        answered: called after each such answer.
    """
    client: Any = consumer._client
    send = client.send

    async def noted_send(node_id: Any, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if (
            isinstance(request, HeartbeatRequest | SyncGroupRequest)
            and answer.error_code in AS_A_MEMBER
        ):
            answered()
        return answer

    client.send = noted_send


def add_topics(consumer: AIOKafkaConsumer, topics: Collection[str]) -> None:
    """Let this member join its group again, with these topics beside those it has.

    The assignment stays until its partitions are revoked, as in any other rebalance. During a
    rebalance nothing happens, because its JoinGroup may be sent already: call again later.
    """
    subscriptions: Any = consumer._subscription
    coordinator = consumer._coordinator
    further = frozenset(topics) - subscriptions.topics
    if (
        not further
        or subscriptions.reassignment_in_progress
        or not isinstance(coordinator, GroupCoordinator)
    ):
        return
    subscriptions.subscription._topics |= further
    consumer._client.set_topics(subscriptions.topics)
    coordinator.request_rejoin()


def show_batches(consumer: AIOKafkaConsumer, show: Callable[[TopicPartition, bytes], None]) -> None:
    """Show the record batches of each fetch from now on, before the consumer reads them."""
    client: Any = consumer._client
    send = client.send

    async def shown_send(node_id: Any, request: Any, **options: Any) -> Any:
        answer = await send(node_id, request, **options)
        if isinstance(request, FetchRequest):
            for topic, partitions in answer.topics:
                for number, error_code, *_, batches in partitions:
                    if batches and error_code == NoError.errno:
                        show(TopicPartition(topic, number), batches)
        return answer

    client.send = shown_send


def hand_on_records(consumer: AIOKafkaConsumer) -> None:
    """Let this started consumer return its decoder's records, without a copy of each."""
    fetcher: Any = consumer._fetcher
    fetcher._records = _UncopiedResults(fetcher._records)


class _UncopiedResults(OrderedDict[TopicPartition, FetchResult | FetchError]):
    """The fetcher's results by partition, in the order of their arrival."""

    def __setitem__(self, partition: TopicPartition, result: FetchResult | FetchError) -> None:
        if isinstance(result, FetchResult):
            result._partition_records._consumer_record = _uncopied
        super().__setitem__(partition, result)


def _uncopied(_: TopicPartition, record: Record) -> Record:
    return record


class Fetched:
    """The records and errors that wait in one consumer.

    Args:
        consumer: started. `news` is set whenever something has been fetched; who waits for it
            clears it.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        fetcher = consumer._fetcher
        if fetcher is None:
            raise RuntimeError("the consumer has not been started")
        self._fetcher = fetcher
        self.news = asyncio.Event()
        self._await_news()

    def ready(self) -> list[TopicPartition]:
        """Return the partitions with fetched records or an error, the longest waiting first.

        `getmany` takes the records, or raises the error.
        """
        return list(self._fetcher._records)

    def holds(self, partition: TopicPartition) -> bool:
        """Return whether records or an error of this partition wait."""
        return partition in self._fetcher._records

    def sizes(self) -> dict[TopicPartition, int]:
        """Return the bytes that wait of each partition, as fetched, before decompression."""
        return {partition: _size(result) for partition, result in self._fetcher._records.items()}

    def _await_news(self) -> None:
        self._fetcher._create_fetch_waiter().add_done_callback(self._have_news)

    def _have_news(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.cancelled():
            # An error of the group's coordinator comes this way too. The next poll raises it.
            waiter.exception()
        self.news.set()
        if not self._fetcher._closed:
            self._await_news()


def _size(result: FetchResult | FetchError) -> int:
    records = result._partition_records if isinstance(result, FetchResult) else None
    return records._records.size_in_bytes() if records is not None else 0


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """Return the connections of this consumer, started or not."""
    return consumer._client


def tasks_of(consumer: AIOKafkaConsumer) -> Iterator[asyncio.Task[None]]:
    """Yield the tasks that aiokafka has started for this consumer."""
    match consumer._coordinator:
        case GroupCoordinator() as coordinator:
            candidates = (
                coordinator._coordination_task,
                coordinator._heartbeat_task,
                coordinator._commit_refresh_task,
            )
            yield from (task for task in candidates if task is not None)
        case NoGroupCoordinator() as coordinator:
            if coordinator._reset_committed_task is not None:
                yield coordinator._reset_committed_task
        case _:
            # Not started.
            pass
    fetcher = consumer._fetcher
    if fetcher is not None:
        yield fetcher._fetch_task
        yield from list(fetcher._pending_tasks)
