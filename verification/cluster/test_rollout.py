"""Events while pods are replaced: none is lost, and none is delivered twice."""

from __future__ import annotations

import pytest

from verification.cluster.load import Account, load
from verification.cluster.release import Release
from verification.cluster.world import slow_api

pytestmark = pytest.mark.cluster

FEW, MANY = 2_000, 20_000
# Longer than a pod without a grace period lives, shorter than the drain.
SLOW_SECONDS = 4.0
# Otherwise the group waits 45 s for a worker that was killed.
SHORT_SESSION = {
    "session_timeout_seconds": 10,
    "request_timeout_seconds": 9,
    "rebalance_timeout_seconds": 8,
    "drain_on_revoke_seconds": 4,
    "commit_timeout_seconds": 3,
    "heartbeat_interval_seconds": 1,
}


def _flawless(account: Account) -> bool:
    return (account.lost, account.duplicates) == (0, 0)


async def test_installed_workers_deliver_everything(release: Release) -> None:
    assert [pod.is_ready for pod in await release.pods()] == [True, True]
    async with load(release.topic) as events:
        await events.reach(MANY)
    assert _flawless(await events.account())


async def test_restart_loses_and_repeats_nothing(release: Release) -> None:
    before = {pod.uid for pod in await release.pods()}
    async with load(release.topic) as events:
        await events.reach(FEW)
        await release.restart()
    account = await events.account()
    assert account.produced > FEW and _flawless(account), account
    assert before.isdisjoint({pod.uid for pod in await release.pods()})


async def test_upgrade_loses_and_repeats_nothing_while_the_api_is_slow(release: Release) -> None:
    before = {pod.uid for pod in await release.pods()}
    async with slow_api(SLOW_SECONDS), load(release.topic) as events:
        await events.reach(FEW)
        await release.upgrade({"config": {"log": {"level": "debug"}}})
        await release.await_rollout()
    account = await events.account()
    assert account.produced > FEW and _flawless(account), account
    assert before.isdisjoint({pod.uid for pod in await release.pods()})


async def test_pods_without_a_grace_period_repeat_events(world: None) -> None:
    """The control: the account sees a bad stop. The chart refuses such a value."""
    hasty = Release("hasty")
    await hasty.prepare()
    await hasty.install({"replicas": 1, "config": {"kafka": SHORT_SESSION}})
    grace = '{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 0}}}}'
    await hasty.kubectl("patch", hasty.deployment, f"--patch={grace}")
    await hasty.await_rollout()
    async with slow_api(SLOW_SECONDS), load(hasty.topic) as events:
        await events.reach(FEW)
        await hasty.restart()
    account = await events.account()
    await hasty.uninstall()
    assert account.lost == 0 and account.duplicates > 0, account
