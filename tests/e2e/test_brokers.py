"""A broker dies and returns under a running worker: leaders and the coordinator really move."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.stage import mixed, on_stage
from worker.sandbox.kafka import ClusterOptions, KafkaCluster

PART = 2_000


async def test_a_broker_dies_and_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    with KafkaCluster(ClusterOptions(nodes=3, heap="256m")) as cluster:
        async with on_stage(cluster.bootstrap_servers, "moves", tmp_path) as stage:
            produced = mixed(PART * 2, has_refused=False)
            await stage.start_worker()
            await stage.publish(produced[:PART])
            await stage.await_rows(PART // 2)
            # The first node: the worker's bootstrap connection and a third of everything.
            cluster.nodes[0].kill()
            await stage.publish(produced[PART:])
            await stage.await_rows(PART + PART // 2)
            cluster.nodes[0].restart()
            await stage.await_settled()
            reconciliation = await stage.reconcile(await stage.duplicates_dropped())
            lost = [
                fault
                for fault in reconciliation.faults
                if "lost" in fault or "without a dead letter" in fault
            ]
            assert lost == []
