"""What the API server accepts: pods under the strictest standard, and every object of the chart."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.install.chart import Values, objects
from tests.install.value_sets import VALUE_SETS
from verification.cluster.release import Release
from verification.cluster.world import REPOSITORY, RefusedError, apply

pytestmark = pytest.mark.cluster

NAMESPACE = "dry"
# Strimzi has no Go module with its definitions.
UNKNOWN = {"KafkaTopic", "KafkaUser"}
DRY = ("--dry-run=server", "--validate=strict", f"--namespace={NAMESPACE}")
MONITORING, KEDA = "monitoring.coreos.com/v1", "keda.sh/v1alpha1"


def _metadata() -> dict[str, str]:
    return {"name": "wrong"}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "deployment whose selector is not that of its pods": (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(),
            "spec": {
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "b"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        },
        "`selector` does not match template `labels`",
    ),
    "budget with both limits": (
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(),
            "spec": {"minAvailable": 1, "maxUnavailable": 1, "selector": {}},
        },
        "cannot be both set",
    ),
    "pod monitor with an unknown field": (
        {
            "apiVersion": MONITORING,
            "kind": "PodMonitor",
            "metadata": _metadata(),
            "spec": {"selector": {}, "podMetricsEndpoint": [{"port": "admin"}]},
        },
        "podMetricsEndpoint",
    ),
    "service monitor with a wrong interval": (
        {
            "apiVersion": MONITORING,
            "kind": "ServiceMonitor",
            "metadata": _metadata(),
            "spec": {"selector": {}, "endpoints": [{"port": "admin", "interval": "soon"}]},
        },
        "interval",
    ),
    "rule without an expression": (
        {
            "apiVersion": MONITORING,
            "kind": "PrometheusRule",
            "metadata": _metadata(),
            "spec": {"groups": [{"name": "g", "rules": [{"alert": "a"}]}]},
        },
        "expr",
    ),
    "scaled object without a trigger's type": (
        {
            "apiVersion": KEDA,
            "kind": "ScaledObject",
            "metadata": _metadata(),
            "spec": {"scaleTargetRef": {"name": "d"}, "triggers": [{"metadata": {}}]},
        },
        "type",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def namespace(definitions: None) -> None:
    """A namespace, with what pods of the value sets name."""
    accounts = {
        found["metadata"]["name"]
        for values in VALUE_SETS.values()
        for found in objects(values)
        if found["kind"] == "ServiceAccount"
    }
    await apply({"kind": "Namespace", "metadata": {"name": NAMESPACE}})
    await apply(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "high"},
            "value": 1,
        },
        *({"kind": "ServiceAccount", "metadata": {"name": name}} for name in accounts),
        options=(f"--namespace={NAMESPACE}",),
    )


@pytest.mark.parametrize("values", [pytest.param(one, id=name) for name, one in VALUE_SETS.items()])
async def test_every_object_is_accepted(namespace: None, values: Values) -> None:
    known = [found for found in objects(values) if found["kind"] not in UNKNOWN]
    accepted = await apply(*known, options=DRY)
    assert len(accepted.splitlines()) == len(known)


@pytest.mark.parametrize(
    ("wrong", "message"), [pytest.param(*case, id=name) for name, case in WRONG.items()]
)
async def test_wrong_object_is_refused(
    namespace: None, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedError, match=message):
        await apply(wrong, options=DRY)


async def test_restricted_standard_refuses_a_plain_pod_where_the_release_runs(
    release: Release,
) -> None:
    """That the release's pods are ready there shows that they meet it."""
    plain = {
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": release.namespace},
        "spec": {"containers": [{"name": "c", "image": f"{REPOSITORY}:0.1.0"}]},
    }
    with pytest.raises(RefusedError, match='violates PodSecurity "restricted:latest"'):
        await apply(plain)
    assert {pod.is_ready for pod in await release.pods()} == {True}
