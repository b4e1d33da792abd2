"""Apache Kafka from packages: it starts, keeps its data through a crash, and goes without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.errors import UnavailableError
from worker.sandbox.kafka import ClusterOptions, KafkaCluster
from worker.sandbox.topics import create_topics, publish, read_all

RECORDS = [(str(number).encode(), b"x" * 200) for number in range(1000)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(ClusterOptions(nodes=3, heap="256m")) as cluster:
        yield cluster


async def test_a_cluster_keeps_what_was_acknowledged_through_the_crash_of_a_node(cluster: KafkaCluster) -> None:
    await create_topics(cluster.bootstrap_servers, {"kept": 3})
    assert await publish(cluster.bootstrap_servers, "kept", RECORDS[:500]) == 500
    cluster.nodes[0].kill()
    assert await publish(cluster.bootstrap_servers, "kept", RECORDS[500:]) == 500
    cluster.nodes[0].restart()
    assert sorted(record.key or b"" for record in await read_all(cluster.bootstrap_servers, "kept")) == sorted(
        key for key, _ in RECORDS
    )


async def test_a_topic_that_the_broker_refuses_is_told_with_its_reason(cluster: KafkaCluster) -> None:
    with pytest.raises(UnavailableError, match=r"refuses to make the topic no good: .*invalid"):
        await create_topics(cluster.bootstrap_servers, {"no good": 1})


def test_a_node_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(UnavailableError, match="nonsense"),
        KafkaCluster(ClusterOptions(properties=(("process.roles", "nonsense"),))),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
