"""Three brokers, each behind a proxy, and the leader of each partition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError

from verification.chaos.protocols import KafkaProxy
from verification.chaos.traps import Traps
from worker.sandbox.kafka import ClusterOptions, KafkaCluster
from worker.sandbox.kafka_node import KafkaNode
from worker.sandbox.topics import started

NODES = 3
IN_SYNC_SECONDS_MAX = 120.0
POLL_SECONDS = 0.25
# A dead broker is noticed within 3 s instead of 9, so that a run of minutes has room for many.
QUICK = (("broker.session.timeout.ms", "3000"), ("broker.heartbeat.interval.ms", "500"))


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a run."""

    events: str = "events"
    dead_letters: str = "events.dlq"
    parked: str = "events.parked"


class Brokers:
    """The cluster and the proxies before it.

    Clients of `servers` connect through the proxies, clients of `direct_servers` without them.
    """

    def __init__(self, traps: Traps) -> None:
        self.proxies = [KafkaProxy(traps) for _ in range(NODES)]
        self._cluster: KafkaCluster | None = None

    @property
    def cluster(self) -> KafkaCluster:
        """The nodes; started."""
        if self._cluster is None:
            raise RuntimeError("the brokers are not started")
        return self._cluster

    @property
    def servers(self) -> str:
        """The addresses for the workers."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)

    @property
    def direct_servers(self) -> str:
        """The addresses for the producer and the checker."""
        return self.cluster.direct_servers

    async def start(self) -> None:
        """Start the brokers; blocks for a few seconds, as nothing else runs yet."""
        for proxy in self.proxies:
            await proxy.open()
        ports = tuple(proxy.port for proxy in self.proxies)
        cluster = KafkaCluster(
            ClusterOptions(nodes=NODES, heap="256m", properties=QUICK, advertised_ports=ports)
        )
        self._cluster = cluster.__enter__()
        for proxy, node in zip(self.proxies, cluster.nodes, strict=True):
            proxy.upstream_port = node.port

    async def stop(self) -> None:
        """Stop the brokers and the proxies."""
        for proxy in self.proxies:
            await proxy.close()
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    async def leader(self, topic: str, partition: int) -> KafkaNode:
        """The node that leads this partition now."""
        (described,) = await self._describe(topic)
        return self._node(
            next(one["leader"] for one in described["partitions"] if one["partition"] == partition)
        )

    async def coordinator(self, group_id: str) -> KafkaNode:
        """The node that coordinates the group now."""
        client = AIOKafkaClient(bootstrap_servers=self.direct_servers)
        try:
            await client.bootstrap()
            return self._node(await client.coordinator_lookup(CoordinationType.GROUP, group_id))
        finally:
            await client.close()

    async def relaunch(self, node: KafkaNode) -> None:
        """Start a broker again, and wait until it listens."""
        # Launched here, in the main thread: a process dies with the thread that made it.
        node.relaunch()
        await asyncio.to_thread(node.await_start)

    async def await_in_sync(self, topics: tuple[str, ...]) -> None:
        """Wait until each of these partitions has all its replicas again.

        Raises:
            TimeoutError: some replica was not in sync in time.
        """
        async with asyncio.timeout(IN_SYNC_SECONDS_MAX):
            # Kafka sends no notice: the metadata has to be read again.
            while not await self._are_in_sync(topics):  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)

    async def _are_in_sync(self, topics: tuple[str, ...]) -> bool:
        try:
            described = await self._describe(*topics)
        except (KafkaError, OSError):
            return False
        partitions = [one for topic in described for one in topic["partitions"]]
        return bool(partitions) and all(
            len(one["isr"]) == NODES and one["leader"] > 0 for one in partitions
        )

    async def _describe(self, *topics: str) -> list[dict[str, Any]]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.direct_servers)
        async with started(admin):
            return cast(list[dict[str, Any]], await admin.describe_topics(list(topics)))

    def _node(self, number: int) -> KafkaNode:
        return self.cluster.nodes[number - 1]
