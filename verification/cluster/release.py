"""A release of the chart: what Helm and kubectl do to it, and its pods."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import helm_python

from tests.install.chart import merged
from tests.install.values import CHART
from verification.cluster.world import (
    ACTION_SECONDS_MAX,
    API_URL,
    APPLICATION,
    BROKERS,
    KAFKA,
    KEYS,
    PARTITIONS,
    REPOSITORY,
    SECRET,
    SERVERS,
    apply,
    kubectl,
    until,
)
from worker.sandbox.topics import create_topics

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Release:
    """An installation of the chart; namespace, topic and group have one name."""

    topic: str
    name: str = "amw"

    @property
    def namespace(self) -> str:
        """The namespace, which has nothing else in it."""
        return self.topic

    @property
    def deployment(self) -> str:
        """The deployment, as kubectl names it."""
        return f"deployment/{self.name}-appmetrica-worker"

    async def prepare(self) -> None:
        """Create namespace, secret and topics."""
        topics = {self.topic: PARTITIONS, f"{self.topic}.parked": PARTITIONS}
        await create_topics(SERVERS, topics | {f"{self.topic}.dlq": 1})
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await apply(
            {"kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}},
            {
                "kind": "Secret",
                "metadata": {"name": SECRET, "namespace": self.namespace},
                "stringData": {str(APPLICATION): KEYS[APPLICATION]},
            },
        )

    def values(self, *layers: Mapping[str, Any]) -> dict[str, Any]:
        """The values for two workers, with further layers over them."""
        config = {
            "kafka": {"bootstrap_servers": f"{BROKERS[0]}:{KAFKA}", "group_id": self.topic},
            "routes": [{"topic": self.topic, "resource": "events"}],
            "appmetrica": {"base_url": API_URL, "applications": {str(APPLICATION): {}}},
            "dead_letter": {"topic": f"{self.topic}.dlq"},
        }
        return merged(
            {
                "replicas": 2,
                "image": {"repository": REPOSITORY},
                "config": config,
                "keys": {"secretName": SECRET},
                # A small machine has room for old and new pods of all releases.
                "resources": {"requests": {"cpu": "50m"}},
            },
            *layers,
        )

    async def install(self, *layers: Mapping[str, Any]) -> None:
        """Install, and wait until every pod is ready."""
        values = self.values(*layers)
        await self._act(lambda helm: helm.install(CHART, self.name, values, **_WAIT))

    async def upgrade(self, *layers: Mapping[str, Any]) -> None:
        """Upgrade, and wait until every pod is a new one."""
        values = self.values(*layers)
        await self._act(lambda helm: helm.upgrade(CHART, self.name, values, **_WAIT))

    async def rollback(self) -> None:
        """Go back to the revision before, and wait."""
        await self._act(lambda helm: helm.rollback(self.name, **_WAIT))

    async def uninstall(self) -> None:
        """Remove the objects, and wait until they are gone."""
        await self._act(lambda helm: helm.uninstall(self.name, **_WAIT))

    async def test(self) -> None:
        """`helm test`."""
        await self._act(lambda helm: helm.test(self.name, timeout=ACTION_SECONDS_MAX))

    async def _act(self, action: Callable[[helm_python.Config], T]) -> T:
        def act() -> T:
            config = os.environ["KUBECONFIG"]
            with helm_python.Config(kubeconfig_path=config, namespace=self.namespace) as helm:
                return action(helm)

        return await asyncio.to_thread(act)

    async def kubectl(self, *arguments: str, input_text: str = "") -> str:
        """Run kubectl in the namespace of the release."""
        return await kubectl(f"--namespace={self.namespace}", *arguments, input_text=input_text)

    async def restart(self) -> None:
        """`kubectl rollout restart`, to its end."""
        await self.kubectl("rollout", "restart", self.deployment)
        await self.await_rollout()

    async def await_rollout(self) -> None:
        """Wait until every pod is a new one, and the old ones are gone."""
        timeout = f"--timeout={ACTION_SECONDS_MAX}s"
        await self.kubectl("rollout", "status", self.deployment, timeout)
        await until("the old pods are gone", self._has_only_wanted_pods)

    async def _has_only_wanted_pods(self) -> bool:
        wanted = await self.kubectl("get", self.deployment, "--output=jsonpath={.spec.replicas}")
        return len(await self.pods()) == int(wanted)

    async def pods(self) -> list[Pod]:
        """The pods of the workers."""
        labels = f"app.kubernetes.io/instance={self.name},app.kubernetes.io/name=appmetrica-worker"
        text = await self.kubectl("get", "pods", f"--selector={labels}", "--output=json")
        return [_pod(one) for one in json.loads(text)["items"]]


_WAIT: Any = {"wait": "watcher", "timeout": ACTION_SECONDS_MAX}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API server knows it now."""

    name: str
    uid: str
    address: str
    container_id: str
    restarts: int
    is_ready: bool
    last_end: str

    async def status(self) -> dict[str, Any]:
        """The worker's status document; empty while it doesn't answer."""
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"http://{self.address}:9090/status") as response,
            ):
                found: dict[str, Any] = await response.json()
                return found
        except (aiohttp.ClientError, TimeoutError):
            return {}

    async def partitions(self) -> frozenset[tuple[str, int]]:
        """The partitions that the worker reads."""
        status = await self.status()
        return frozenset((one["topic"], one["partition"]) for one in status.get("partitions", ()))

    def pid(self) -> int:
        """The process id of the worker, as the machine sees it."""
        for group in Path("/proc").glob("[0-9]*/cgroup"):
            try:
                is_of_container = self.container_id in group.read_text()
            except OSError:
                continue
            if is_of_container:
                return int(group.parent.name)
        raise LookupError(f"no process of {self.name}")


def _pod(found: Mapping[str, Any]) -> Pod:
    status = found["status"]
    containers = status.get("containerStatuses") or [{}]
    conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
    return Pod(
        name=found["metadata"]["name"],
        uid=found["metadata"]["uid"],
        address=status.get("podIP", ""),
        container_id=containers[0].get("containerID", "").rpartition("/")[2],
        restarts=containers[0].get("restartCount", 0),
        is_ready=conditions.get("Ready") == "True",
        last_end=containers[0].get("lastState", {}).get("terminated", {}).get("reason", ""),
    )
