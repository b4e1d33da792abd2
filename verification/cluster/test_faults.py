"""What a node does to its pods: kills, a lack of memory, a drain."""

from __future__ import annotations

import json
import os
import signal

import pytest

from verification.cluster.load import EVENTS_PER_SECOND, Load, load
from verification.cluster.release import Pod, Release
from verification.cluster.world import RefusedError, until

pytestmark = pytest.mark.cluster

FEW = 2_000
# Less than a session of the group, after which the other worker would get the partitions.
BACK_SECONDS_MAX = 30.0
# Delivered since the last commit, and in flight.
REPEATED_MAX = 5 * EVENTS_PER_SECOND
# Memory of the container that no process has mapped: the kernel ends the largest, the worker.
EXHAUST_MEMORY = """
import os
file = os.memfd_create("memory")
while True:
    os.write(file, bytes(2**20))
"""


async def test_killed_worker_has_its_partitions_back_in_seconds(release: Release) -> None:
    killed, other = await release.pods()
    async with load(release.topic) as events:
        await events.reach(FEW)
        before = await _assignments(killed, other)
        os.kill(killed.pid(), signal.SIGKILL)
        await _await_return(release, killed, other, before)
    await _assert_nothing_is_lost(events)
    assert (await _now(release, killed)).last_end == "Error"


async def test_worker_without_memory_has_its_partitions_back_in_seconds(release: Release) -> None:
    other, killed = await release.pods()
    async with load(release.topic) as events:
        await events.reach(FEW)
        before = await _assignments(killed, other)
        command = ("/opt/worker/bin/python", "-c", EXHAUST_MEMORY)
        with pytest.raises(RefusedError):
            await release.kubectl("exec", killed.name, "--", *command)
        await _await_return(release, killed, other, before)
    await _assert_nothing_is_lost(events)
    assert (await _now(release, killed)).last_end == "OOMKilled"


async def _assignments(*pods: Pod) -> list[frozenset[tuple[str, int]]]:
    found = [await pod.partitions() for pod in pods]
    assert all(found)
    return found


async def _await_return(
    release: Release, killed: Pod, other: Pod, before: list[frozenset[tuple[str, int]]]
) -> None:
    async def has_returned() -> bool:
        now = await _now(release, killed)
        return now.restarts > killed.restarts and await now.partitions() == before[0]

    await until("the partitions are back", has_returned, BACK_SECONDS_MAX)
    assert await other.partitions() == before[1]


async def _now(release: Release, pod: Pod) -> Pod:
    return next(one for one in await release.pods() if one.uid == pod.uid)


async def _assert_nothing_is_lost(events: Load) -> None:
    account = await events.account()
    assert account.lost == 0 and account.duplicates < REPEATED_MAX, account


async def test_drain_waits_for_the_budget_and_repeats_nothing(release: Release) -> None:
    first, second = await release.pods()
    async with load(release.topic) as events:
        await events.reach(FEW)
        await _evict(release, first)
        with pytest.raises(RefusedError, match="disruption budget"):
            await _evict(release, second)

        async def is_evicted() -> bool:
            try:
                await _evict(release, second)
            except RefusedError:
                return False
            return True

        await until("the budget allows the second eviction", is_evicted)
        await release.await_rollout()
    account = await events.account()
    assert (account.lost, account.duplicates) == (0, 0), account
    assert {first.uid, second.uid}.isdisjoint({pod.uid for pod in await release.pods()})


async def _evict(release: Release, pod: Pod) -> None:
    """As `kubectl drain` does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": release.namespace},
    }
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod.name}/eviction"
    await release.kubectl(
        "create", f"--raw={path}", "--filename=-", input_text=json.dumps(eviction)
    )
