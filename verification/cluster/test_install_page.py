"""docs/install.md from its first command to its last one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from verification.cluster.load import rows_total
from verification.cluster.page import Page
from verification.cluster.release import Release
from verification.cluster.world import KEYS, SERVERS, control, until
from worker.sandbox.topics import committed_lag, publish

pytestmark = pytest.mark.cluster

NEW_KEY = "new-key-of-the-first-application"
PLACEHOLDERS = {
    "<key>": KEYS[1111],
    "<new key>": NEW_KEY,
    "<password>": "password-of-a-service",
    "<secret>": "secret-of-a-client",
}
HEALED_SECONDS_MAX = 60.0
EVENT = (
    b'{"application_id": 1111, "profile_id": "user-2", "event_name": "order_paid", '
    b'"event_timestamp": %d}'
)
KUBECTL = "kubectl --namespace events"


async def test_each_command_of_the_page_works(world: None, tmp_path: Path) -> None:
    page = Page(tmp_path, PLACEHOLDERS)
    release = Release("events")
    await _prepare(page)
    notes = await page.run("helm install")
    assert "helm test amw --namespace events" in notes
    assert [pod.is_ready for pod in await release.pods()] == [True, True]
    assert "READ and WRITE allowed" in await page.run("helm test")
    await _deliver(page)
    await _add_secrets(page, release)
    await page.run("helm upgrade")
    await page.run("helm rollback")
    await _change_key(page, release)
    await page.run("helm uninstall")
    await until("the pods are gone", lambda: _are_gone(release))
    assert await committed_lag(SERVERS, "appmetrica-worker", "offline-events") == 0
    assert page.left == []


async def _prepare(page: Page) -> None:
    # `make image` builds the image; the cluster has it under the name that the page gives it.
    page.skip("docker build")
    page.skip("docker push")
    for _ in range(3):
        assert "Created topic" in await page.run("kafka-topics.sh")
    for _ in range(3):
        assert "Adding ACLs" in await page.run("kafka-acls.sh")
    await page.run("kubectl create namespace")
    await page.run("kubectl label namespace")
    await page.run(f"{KUBECTL} create secret generic appmetrica-keys")


async def _deliver(page: Page) -> None:
    before = await rows_total()
    await page.run("echo")
    await until("the event is delivered", lambda: _are_delivered(before + 1))
    metrics = await page.run("for pod in")
    assert 'records_delivered_total{topic="offline-events"} 1.0' in metrics
    assert "no dead letters" in await page.run(f"{KUBECTL} exec")


async def _add_secrets(page: Page, release: Release) -> None:
    page.skip("curl --output ca.crt")
    page.write("ca.crt", "a certificate")
    await page.run(f"{KUBECTL} create secret generic kafka-login")
    for _ in ("AWS MSK", "OAuth"):
        # Of another service, so the page gives it the same name.
        await release.kubectl("delete", "secret", "kafka-login")
        await page.run(f"{KUBECTL} create secret generic kafka-login")


async def _change_key(page: Page, release: Release) -> None:
    before = await release.pods()
    await control("keys", {str(number): key for number, key in (KEYS | {1111: NEW_KEY}).items()})
    rows = await rows_total()
    await publish(SERVERS, "offline-events", [(b"key", EVENT % int(time.time()))])
    await until("the application is on hold", lambda: _is_held(release))
    await page.run(f"{KUBECTL} create secret generic appmetrica-keys")
    await until("the event is delivered", lambda: _are_delivered(rows + 1), HEALED_SECONDS_MAX)
    after = await release.pods()
    assert [(pod.uid, pod.restarts) for pod in after] == [(pod.uid, 0) for pod in before]


async def _are_delivered(count: int) -> bool:
    return await rows_total() >= count


async def _is_held(release: Release) -> bool:
    return any([(await pod.status()).get("holds") for pod in await release.pods()])


async def _are_gone(release: Release) -> bool:
    return not await release.pods()
