"""Values that can't work are refused before anything is installed, with the path and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.install.chart import merged, refusal
from tests.install.value_sets import MINIMAL, STRIMZI

KEY = "key-nobody-may-read"


def _config(**values: Any) -> dict[str, Any]:
    return {"config": values}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    # The worker's own schema.
    "no application": (
        {"config": {"appmetrica": {"applications": {"1111": None}}}},
        "/config/appmetrica/applications",
    ),
    "unknown setting": (
        _config(kafka={"bootstrap_server": "kafka:9092"}),
        "at '/config/kafka': additional properties 'bootstrap_server' not allowed",
    ),
    "setting out of range": (
        _config(limits={"memory_bytes_max": 1}),
        "at '/config/limits/memory_bytes_max': minimum",
    ),
    "wrong resource": (
        _config(routes=[{"topic": "t", "resource": "event"}]),
        "at '/config/routes/0/resource': value must be one of 'events', 'revenue'",
    ),
    "wrong type": (
        _config(log={"level": 1}),
        "at '/config/log/level': got number, want string",
    ),
    "application's name instead of its id": (
        _config(appmetrica={"applications": {"shop": {}}}),
        "config.appmetrica.applications.shop: an application's id is a positive integer without "
        "leading zeros",
    ),
    # The chart's schema.
    "unknown value": ({"replicaCount": 2}, "additional properties 'replicaCount' not allowed"),
    "negative replicas": ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
    "digest that is none": ({"image": {"digest": "latest"}}, "at '/image/digest'"),
    "unknown mode": ({"autoscaling": {"mode": "vpa"}}, "at '/autoscaling/mode'"),
    # What only the chart can compare.
    "memory limit below the need": (
        {"resources": {"limits": {"memory": "256Mi"}}},
        "resources.limits.memory: 256Mi is less than the 541Mi that the worker may need "
        "(config.limits.memory_bytes_max + config.delivery.requests_in_flight_max × "
        "(config.batching.body_bytes_max + 320 KiB) + 128 B for each of "
        "config.dedup.window_rows_max + 96 MiB), and a long outage would get it killed: raise the "
        "limit, or lower these settings",
    ),
    "memory of the configuration above the limit": (
        merged(
            _config(dedup={"window_rows_max": 10_000_000}),
            {"resources": {"limits": {"memory": "1Gi"}}},
        ),
        "resources.limits.memory: 1Gi is less than the 1640Mi",
    ),
    "memory limit in thousands": (
        {"resources": {"limits": {"memory": "565M"}}},
        "resources.limits.memory: 565M is less than the 541Mi",
    ),
    "request above the limit": (
        {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
        "resources.requests.memory: 2Gi is more than the limit 1Gi",
    ),
    "memory that is no quantity": (
        {"resources": {"limits": {"memory": "1 GB"}}},
        'resources.limits.memory: "1 GB" is no memory quantity: write 512Mi or 1Gi',
    ),
    "grace period within the drain": (
        {"terminationGracePeriodSeconds": 40},
        "terminationGracePeriodSeconds: 40 must be more than config.shutdown.drain_seconds (40)",
    ),
    "more replicas than partitions": (
        {"replicas": 5, "partitions": 4},
        "replicas: 5 workers, but the topics have 4 partitions: the others would stand idle",
    ),
    "more replicas than partitions of strimzi's topics": (
        merged(STRIMZI, {"replicas": 7}),
        "replicas: 7 workers, but the topics have 6 partitions",
    ),
    "autoscaling above the partitions": (
        {"autoscaling": {"mode": "hpa", "maxReplicas": 10}, "partitions": 4},
        "autoscaling.maxReplicas: 10 workers, but the topics have 4 partitions",
    ),
    "minimum above the maximum": (
        {"autoscaling": {"mode": "hpa", "minReplicas": 9}},
        "autoscaling.minReplicas: 9 is more than autoscaling.maxReplicas (4)",
    ),
    "autoscaling by CPU without a request": (
        {"autoscaling": {"mode": "hpa"}, "resources": {"requests": {"cpu": None}}},
        "autoscaling.mode: hpa needs resources.requests.cpu",
    ),
    "scaling by a metric of nowhere": (
        {"autoscaling": {"mode": "keda", "keda": {"trigger": "desired_replicas"}}},
        "autoscaling.keda.prometheusAddress: required with the trigger desired_replicas",
    ),
    "scaling by lag without a login": (
        merged(STRIMZI, {"autoscaling": {"mode": "keda"}}),
        "autoscaling.keda.authenticationRef: required with config.kafka.security_protocol SASL_SSL",
    ),
    "random port": (
        _config(admin={"port": 0}),
        "config.admin.port: 0 is a random port, but the probes need a known one",
    ),
    "port that probes can't reach": (
        _config(admin={"host": "127.0.0.1"}),
        'config.admin.host: the probes can\'t reach 127.0.0.1: use "::" or 0.0.0.0, or set '
        "config.admin.metrics_port",
    ),
    "metrics that probes can't reach": (
        _config(admin={"metrics_port": 9100, "metrics_host": "127.0.0.1"}),
        'config.admin.metrics_host: the probes can\'t reach 127.0.0.1: use "::" or 0.0.0.0',
    ),
    "metrics on a random port": (
        _config(admin={"metrics_port": 0}),
        "config.admin.metrics_port: 0 is a random port, but the probes need a known one",
    ),
    "metrics on the admin port": (
        _config(admin={"metrics_port": 9090}),
        "config.admin.metrics_port: must differ from config.admin.port",
    ),
    "token in the configuration": (
        _config(admin={"token": KEY}),
        "config.admin.token would be readable in the ConfigMap: use secretFiles and "
        "config.admin.token_file",
    ),
    "monitor without the authority": (
        merged(
            _config(admin={"ssl_certificate_file": "/c"}),
            {"monitoring": {"podMonitor": {"enabled": True}}},
        ),
        "monitoring.tlsConfig: required with config.admin.ssl_certificate_file",
    ),
    "monitor without the token": (
        merged(
            _config(admin={"token_file": "/t"}),
            {"monitoring": {"serviceMonitor": {"enabled": True}}},
        ),
        "monitoring.authorization: required with config.admin.token_file",
    ),
    "computed setting in a variable": (
        {"env": [{"name": "AMW_SHUTDOWN__DRAIN_SECONDS", "value": "300"}]},
        "set it in config, not as AMW_SHUTDOWN__DRAIN_SECONDS",
    ),
    "size of bodies in a variable": (
        {"env": [{"name": "AMW_BATCHING__BODY_BYTES_MAX", "value": "33554432"}]},
        "set it in config, not as AMW_BATCHING__BODY_BYTES_MAX",
    ),
    "key in the configuration": (
        _config(appmetrica={"applications": {"1111": {"post_api_key": KEY}}}),
        "config.appmetrica.applications.1111.post_api_key would be readable in the ConfigMap: "
        "use keys.secretName or keys.values",
    ),
    "password in the configuration": (
        _config(kafka={"sasl_password": KEY}),
        "config.kafka.sasl_password would be readable in the ConfigMap: use secretFiles and "
        "config.kafka.sasl_password_file",
    ),
    "client secret in the configuration": (
        _config(kafka={"sasl_oauth": {"client_secret": KEY}}),
        "config.kafka.sasl_oauth.client_secret would be readable in the ConfigMap: use secretFiles "
        "and config.kafka.sasl_oauth.client_secret_file",
    ),
    "application without a key": (
        {"keys": {"secretName": ""}},
        "config.appmetrica.applications.1111 has no key: set keys.secretName, keys.values or "
        "post_api_key_file",
    ),
    "keys twice": (
        {"keys": {"values": {"1111": KEY}}},
        "keys.secretName and keys.values exclude each other: remove one",
    ),
    "key of no application": (
        {"keys": {"secretName": "", "values": {"1111": KEY, "3333": KEY}}},
        "keys.values.3333: config.appmetrica.applications has no 3333",
    ),
    "folder of the keys taken": (
        {"secretFiles": {"keys": "other"}},
        "secretFiles.keys: this folder is that of keys.secretName: use another name",
    ),
    "scraped twice": (
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        "monitoring: podMonitor and serviceMonitor would both scrape each pod: enable one",
    ),
    "service monitor without a service": (
        {"monitoring": {"serviceMonitor": {"enabled": True}}, "service": {"enabled": False}},
        "monitoring.serviceMonitor.enabled: needs service.enabled",
    ),
    "budget with both limits": (
        {"podDisruptionBudget": {"minAvailable": 1}},
        "podDisruptionBudget: set one of maxUnavailable and minAvailable, and the other to null",
    ),
    "topics of no cluster": (
        {"strimzi": {"enabled": True}},
        "strimzi.cluster: required with strimzi.enabled",
    ),
    "state directory mounted twice": (
        {"extraVolumeMounts": [{"name": "v", "mountPath": "/var/lib/appmetrica-worker"}]},
        "extraVolumeMounts: the chart mounts an emptyDir at config.state_dir: use another path",
    ),
}


@pytest.mark.parametrize(
    ("values", "message"), [pytest.param(*case, id=name) for name, case in WRONG.items()]
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    found = refusal(merged(MINIMAL, values))
    assert message in found
    assert KEY not in found


def test_all_faults_are_listed_at_once() -> None:
    found = refusal(
        merged(
            MINIMAL,
            {
                "replicas": 9,
                "partitions": 2,
                "terminationGracePeriodSeconds": 1,
                "resources": {"limits": {"memory": "1Mi"}},
            },
        )
    )
    lines = [line for line in found.splitlines() if line.startswith("  - ")]
    assert len(lines) == 3
