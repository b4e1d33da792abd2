"""The network policy, enforced: the worker's own connections pass, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from verification.cluster.load import load
from verification.cluster.node_configuration import NODE_ADDRESS
from verification.cluster.release import Release
from verification.cluster.world import (
    API,
    KAFKA,
    LOGIN,
    REPOSITORY,
    RefusedError,
    apply,
    kubectl,
    until,
)

pytestmark = pytest.mark.cluster

PYTHON = "/opt/worker/bin/python"
ADMIN = 9090
MONITORING, ELSEWHERE = "monitoring", "elsewhere"
POLICY = {
    "networkPolicy": {
        "enabled": True,
        "ingressFrom": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}}}
        ],
    }
}
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
except OSError as error:
    sys.exit(f"refused: {error}")
"""
RESOLVE = """
import socket, sys
print(socket.gethostbyname(sys.argv[1]))
"""


@dataclass(frozen=True, slots=True)
class Client:
    """A pod that connects."""

    namespace: str
    pod: str

    async def run(self, script: str, *arguments: str) -> str:
        """Run a script of Python in the pod."""
        command = ("exec", self.pod, "--", PYTHON, "-c", script, *arguments)
        return await kubectl(f"--namespace={self.namespace}", *command)

    async def reaches(self, address: str, port: int) -> bool:
        """True if a connection is accepted."""
        try:
            await self.run(CONNECT, address, str(port))
        except RefusedError as error:
            assert "refused: " in str(error)
            return False
        return True


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def guarded(world: None) -> AsyncIterator[Release]:
    """A release with the policy, which is in force."""
    found = Release("guarded")
    await found.prepare()
    await found.install(POLICY, {"replicas": 1})
    yield found
    await found.uninstall()


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def scraper(world: None) -> Client:
    """A pod of the namespace that may scrape."""
    return await _client(MONITORING)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stranger(world: None) -> Client:
    """A pod of another namespace."""
    return await _client(ELSEWHERE)


async def _client(namespace: str) -> Client:
    await apply({"kind": "Namespace", "metadata": {"name": namespace}})
    container = {
        "name": "client",
        "image": f"{REPOSITORY}:0.1.0",
        "command": [PYTHON, "-c", "import signal; signal.pause()"],
    }
    pod = {
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    await apply(pod)
    await kubectl(f"--namespace={namespace}", "wait", "--for=condition=Ready", "pod/client")
    return Client(namespace, "client")


async def test_worker_delivers_and_is_scraped(guarded: Release, scraper: Client) -> None:
    """Kafka, by its name and thus by DNS, the API, and the scraper."""
    (pod,) = await guarded.pods()
    async with load(guarded.topic) as events:
        await events.reach(1)
    account = await events.account()
    assert (account.lost, account.duplicates) == (0, 0), account
    assert await scraper.reaches(pod.address, ADMIN)


async def test_nobody_else_reaches_the_worker(guarded: Release, stranger: Client) -> None:
    (pod,) = await guarded.pods()
    # A policy is enforced some time after it is accepted.
    await until("the policy is in force", lambda: _is_refused(stranger, pod.address, ADMIN))
    # The probes come from the node.
    assert pod.is_ready and not pod.restarts


async def test_worker_reaches_nothing_else(
    guarded: Release, stranger: Client, scraper: Client
) -> None:
    (pod,) = await guarded.pods()
    worker = Client(guarded.namespace, pod.name)
    await until("the policy is in force", lambda: _is_refused(worker, NODE_ADDRESS, LOGIN))
    assert await worker.reaches(NODE_ADDRESS, KAFKA)
    assert await worker.reaches(NODE_ADDRESS, API)
    assert (await worker.run(RESOLVE, "kafka-1")).strip() == NODE_ADDRESS
    # The same port listens for a pod without a policy.
    assert await stranger.reaches(NODE_ADDRESS, LOGIN)
    assert not await worker.reaches(NODE_ADDRESS, 6443)
    assert await stranger.reaches(NODE_ADDRESS, 6443)


async def _is_refused(client: Client, address: str, port: int) -> bool:
    return not await client.reaches(address, port)
