"""Apache Kafka from packages: it starts, keeps its data through a crash, and leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient

from worker.errors import UnavailableError
from worker.sandbox.kafka import ClusterOptions, KafkaCluster, free_ports
from worker.sandbox.topics import create_topics, publish, read_all

RECORDS = [(str(number).encode(), b"x" * 200) for number in range(1000)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(ClusterOptions(nodes=3, heap="256m")) as cluster:
        yield cluster


async def test_a_cluster_keeps_what_was_acknowledged_through_the_crash_of_a_node(
    cluster: KafkaCluster,
) -> None:
    await create_topics(cluster.bootstrap_servers, {"kept": 3})
    assert await publish(cluster.bootstrap_servers, "kept", RECORDS[:500]) == 500
    cluster.nodes[0].kill()
    assert await publish(cluster.bootstrap_servers, "kept", RECORDS[500:]) == 500
    cluster.nodes[0].restart()
    assert sorted(
        record.key or b"" for record in await read_all(cluster.bootstrap_servers, "kept")
    ) == sorted(key for key, _ in RECORDS)


async def test_a_topic_that_the_broker_refuses_is_reported_with_its_reason(
    cluster: KafkaCluster,
) -> None:
    with pytest.raises(UnavailableError, match=r"refuses to create the topic no good: .*invalid"):
        await create_topics(cluster.bootstrap_servers, {"no good": 1})


async def test_clients_are_sent_to_the_advertised_port_and_can_use_the_direct_one() -> None:
    (advertised,) = free_ports(1)
    with KafkaCluster(ClusterOptions(heap="256m", advertised_ports=(advertised,))) as cluster:
        client = AIOKafkaClient(bootstrap_servers=cluster.bootstrap_servers)
        await client.bootstrap()
        assert [broker.port for broker in client.cluster.brokers()] == [advertised]
        await client.close()
        await create_topics(cluster.direct_servers, {"direct": 1})
        assert await publish(cluster.direct_servers, "direct", RECORDS[:10]) == 10


def test_no_port_is_one_that_an_outgoing_connection_may_take_while_its_node_is_down() -> None:
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert max(free_ports(20)) < lowest


def test_a_node_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(UnavailableError, match="nonsense"),
        KafkaCluster(ClusterOptions(properties=(("process.roles", "nonsense"),))),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
