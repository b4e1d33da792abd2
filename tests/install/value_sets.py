"""Values of installations that must work: the smallest, each alternative, and everything on."""

from __future__ import annotations

from typing import Any

from tests.install.chart import Values, merged

MINIMAL: dict[str, Any] = {
    "config": {"appmetrica": {"applications": {"1111": {}}}},
    "keys": {"secretName": "appmetrica-keys"},
}
STRIMZI: dict[str, Any] = {
    "strimzi": {"enabled": True, "cluster": "main", "namespace": "kafka"},
    "secretFiles": {"kafka": "amw-appmetrica-worker", "kafka-ca": "main-cluster-ca-cert"},
    "config": {
        "kafka": {
            "bootstrap_servers": ["main-kafka-bootstrap.kafka:9093"],
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": "amw-appmetrica-worker",
            "sasl_password_file": "/etc/appmetrica-worker/kafka/password",
            "ssl_ca_file": "/etc/appmetrica-worker/kafka-ca/ca.crt",
        }
    },
}
_TWO_ROUTES = {
    "config": {
        "routes": [
            {"topic": "offline-events", "resource": "events"},
            {
                "topic": "Purchases_v2",
                "resource": "revenue",
                "constants": {"application_id": 2222},
                "dead_letter": {"topic": "Purchases_v2.dlq"},
                "parking": {"enabled": False},
            },
        ],
        "appmetrica": {"applications": {"2222": {}}},
    }
}
_GUARDED = {
    "token_file": "/etc/appmetrica-worker/admin/token",
    "ssl_certificate_file": "/etc/appmetrica-worker/tls/tls.crt",
    "ssl_key_file": "/etc/appmetrica-worker/tls/tls.key",
}
_CA = {"name": "worker-tls", "key": "ca.crt"}
_LABELS = {"team": "mobile"}
_SELECTED = {"enabled": True, "labels": {"release": "prometheus"}}

EVERYTHING: dict[str, Any] = merged(
    MINIMAL,
    STRIMZI,
    _TWO_ROUTES,
    {
        "replicas": 3,
        "image": {"repository": "registry.example/worker", "digest": f"sha256:{'0a' * 32}"},
        "imagePullSecrets": ["registry"],
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
        "envFrom": [{"configMapRef": {"name": "environment"}}],
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"memory": "1Gi", "cpu": 2},
        },
        "terminationGracePeriodSeconds": 90,
        "serviceAccount": {"name": "worker", "annotations": {"example.com/role": "reader"}},
        "service": {"annotations": {"example.com/team": "mobile"}},
        "networkPolicy": {
            "enabled": True,
            "ingressFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "kafka": {"to": [{"namespaceSelector": {"matchLabels": {"name": "kafka"}}}]},
            "api": {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [443, 3128]},
            "dns": {"to": [{"namespaceSelector": {}}]},
            "otlp": {"to": [{"namespaceSelector": {}}], "ports": [4318]},
            "extraEgress": [{"ports": [{"port": 88, "protocol": "TCP"}]}],
        },
        "monitoring": {
            "podMonitor": {**_SELECTED, "interval": "15s"},
            "prometheusRule": _SELECTED,
            "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Events"}},
        },
        "autoscaling": {
            "mode": "keda",
            "maxReplicas": 6,
            "keda": {"authenticationRef": "kafka", "annotations": {"example.com/a": "b"}},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 2,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
            }
        ],
        "priorityClassName": "high",
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "events", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname"},
                    }
                ]
            }
        },
        "hostAliases": [{"ip": "198.51.100.7", "hostnames": ["kafka"]}],
        "labels": _LABELS,
        "podLabels": {"part-of": "analytics", **_LABELS},
        "podAnnotations": {"example.com/note": "yes"},
        "initContainers": [{"name": "wait", "image": "registry.example/wait:1"}],
        "extraContainers": [{"name": "beside", "image": "registry.example/beside:1"}],
        "extraVolumes": [{"name": "extra", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    },
)

# Values that the previous version of the chart was installed with.
OF_VERSION_0_1_0: dict[str, Any] = {
    "replicas": 2,
    "image": {"repository": "registry.example/worker", "tag": "0.1.0", "pullPolicy": "Always"},
    "config": {
        "kafka": {"bootstrap_servers": "kafka:9092", "group_id": "appmetrica-worker"},
        "routes": [{"topic": "offline-events", "resource": "events"}],
        "appmetrica": {
            "applications": {"1111": {"post_api_key_file": "/etc/appmetrica-worker/keys/1111"}}
        },
        "dead_letter": {"topic": "offline-events.dlq"},
    },
    "keys": {"secretName": "appmetrica-keys"},
    "env": [{"name": "AMW_LOG__LEVEL", "value": "debug"}],
    "resources": {
        "requests": {"cpu": "250m", "memory": "384Mi"},
        "limits": {"memory": "640Mi"},
    },
    "terminationGracePeriodSeconds": 60,
    "podAnnotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
}


def _with(**values: Any) -> Values:
    return merged(MINIMAL, values)


VALUE_SETS: dict[str, Values] = {
    "minimal": MINIMAL,
    "everything": EVERYTHING,
    "of version 0.1.0": OF_VERSION_0_1_0,
    "keys in the values": _with(keys={"secretName": "", "values": {"1111": "key-of-1111"}}),
    "key in a variable": merged(
        {"config": MINIMAL["config"]},
        {
            "env": [
                {
                    "name": "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "k", "key": "1111"}},
                }
            ]
        },
    ),
    "keys by another mount": merged(
        {
            "config": {
                "appmetrica": {"applications": {"1111": {"post_api_key_file": "/vault/1111"}}}
            },
            "extraVolumes": [{"name": "vault", "emptyDir": {"medium": "Memory"}}],
            "extraVolumeMounts": [{"name": "vault", "mountPath": "/vault"}],
        }
    ),
    "two routes": _with(**_TWO_ROUTES),
    "strimzi": merged(MINIMAL, STRIMZI),
    "strimzi, user with a certificate": merged(
        MINIMAL,
        STRIMZI,
        {"strimzi": {"user": {"authentication": "tls"}, "apiVersion": "kafka.strimzi.io/v1beta2"}},
    ),
    "strimzi, topics only": _with(
        strimzi={"enabled": True, "cluster": "main", "user": {"enabled": False}}
    ),
    "token and TLS on the admin port": _with(
        config={"admin": _GUARDED},
        secretFiles={"admin": "worker-admin", "tls": "worker-tls"},
        monitoring={
            "podMonitor": {"enabled": True},
            "tlsConfig": {"serverName": "worker.example", "ca": {"secret": _CA}},
            "authorization": {"credentials": {"name": "worker-admin", "key": "token"}},
        },
    ),
    "token of a variable, TLS, service monitor": _with(
        config={"admin": {name: _GUARDED[name] for name in _GUARDED if name != "token_file"}},
        secretFiles={"tls": "worker-tls"},
        env=[
            {
                "name": "AMW_ADMIN__TOKEN",
                "valueFrom": {"secretKeyRef": {"name": "worker-admin", "key": "token"}},
            }
        ],
        monitoring={
            "serviceMonitor": {"enabled": True},
            "tlsConfig": {"serverName": "worker.example", "ca": {"secret": _CA}},
            "authorization": {"credentials": {"name": "worker-admin", "key": "token"}},
        },
    ),
    "metrics on a port of their own, the rest within the pod": _with(
        config={"admin": {"host": "127.0.0.1", "metrics_port": 9100}},
        monitoring={"serviceMonitor": {"enabled": True}},
        networkPolicy={
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
    ),
    "network policy": _with(networkPolicy={"enabled": True}),
    "pod monitor": _with(monitoring={"podMonitor": {"enabled": True}}),
    "service monitor": _with(monitoring={"serviceMonitor": {"enabled": True, "interval": "30s"}}),
    "alerts and dashboards": _with(
        monitoring={"prometheusRule": _SELECTED, "dashboards": {"enabled": True}}
    ),
    "autoscaling by CPU": _with(autoscaling={"mode": "hpa", "minReplicas": 2}, partitions=8),
    "autoscaling by lag": _with(autoscaling={"mode": "keda"}),
    "autoscaling by the worker's metric": _with(
        autoscaling={
            "mode": "keda",
            "keda": {
                "trigger": "desired_replicas",
                "prometheusAddress": "http://prometheus.monitoring:9090",
            },
        }
    ),
    "recreate": _with(strategy={"type": "Recreate"}),
    "minimum of available pods": _with(
        replicas=3, podDisruptionBudget={"maxUnavailable": None, "minAvailable": "50%"}
    ),
    "no budget, service or account": _with(
        podDisruptionBudget={"enabled": False},
        service={"enabled": False},
        serviceAccount={"create": False},
    ),
    "no state": _with(config={"state_dir": None}),
    "other port and a long drain": _with(
        config={"admin": {"port": 8080, "host": "0.0.0.0"}, "shutdown": {"drain_seconds": 90.5}}
    ),
    "small memory": _with(
        config={
            "limits": {"memory_bytes_max": 33_554_432},
            "dedup": {"window_rows_max": 100_000},
            "batching": {"body_bytes_max": 1_048_576},
        },
        resources={"limits": {"memory": "160Mi"}},
    ),
    "any user, as OpenShift wants it": _with(
        podSecurityContext={"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    ),
    "other names": _with(nameOverride="events", fullnameOverride="offline-events"),
}
