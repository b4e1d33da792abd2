"""The chart's objects for operators: Strimzi's user and topics, and KEDA's scaling."""

from __future__ import annotations

import pytest

from tests.install.chart import (
    objects,
    one,
)
from tests.install.value_sets import (
    EVERYTHING,
    VALUE_SETS,
)


def test_strimzi_user_has_the_permissions_that_check_config_asks_for() -> None:
    permissions = {
        (rule["resource"]["type"], rule["resource"]["name"]): set(rule["operations"])
        for rule in one(EVERYTHING, "KafkaUser")["spec"]["authorization"]["acls"]
    }
    assert permissions == {
        ("group", "appmetrica-worker"): {"Read", "Describe"},
        ("topic", "offline-events"): {"Read", "Describe"},
        ("topic", "offline-events.parked"): {"Read", "Write", "Describe"},
        ("topic", "offline-events.dlq"): {"Read", "Write", "Describe"},
        ("topic", "Purchases_v2"): {"Read", "Describe"},
        ("topic", "Purchases_v2.dlq"): {"Read", "Write", "Describe"},
    }


def test_strimzi_topics_are_all_that_the_routes_need() -> None:
    topics = {
        found["spec"]["topicName"]: found
        for found in objects(EVERYTHING)
        if found["kind"] == "KafkaTopic"
    }
    partitions = {name: found["spec"]["partitions"] for name, found in topics.items()}
    assert partitions == {
        "offline-events": 6,
        "offline-events.parked": 6,
        "offline-events.dlq": 1,
        "Purchases_v2": 6,
        "Purchases_v2.dlq": 1,
    }
    names = {found["metadata"]["name"] for found in topics.values()}
    assert len(names) == len(topics)
    assert all(name == name.lower() and "_" not in name for name in names)
    keep = {
        found["metadata"]["annotations"]["helm.sh/resource-policy"] for found in topics.values()
    }
    assert keep == {"keep"}


def test_scaled_object_asks_for_the_lag_of_each_topic() -> None:
    triggers = one(EVERYTHING, "ScaledObject")["spec"]["triggers"]
    assert [trigger["metadata"]["topic"] for trigger in triggers] == [
        "offline-events",
        "Purchases_v2",
    ]
    assert triggers[0]["metadata"] == {
        "bootstrapServers": "main-kafka-bootstrap.kafka:9093",
        "consumerGroup": "appmetrica-worker",
        "topic": "offline-events",
        "lagThreshold": "50000",
        "offsetResetPolicy": "earliest",
        "excludePersistentLag": "true",
        "tls": "enable",
        "sasl": "scram_sha512",
    }
    assert triggers[0]["authenticationRef"] == {"name": "kafka"}


def test_scaled_object_asks_for_the_sum_of_what_the_workers_want() -> None:
    values = VALUE_SETS["autoscaling by the worker's metric"]
    (trigger,) = one(values, "ScaledObject")["spec"]["triggers"]
    selector = 'namespace="events",pod=~"amw-appmetrica-worker-.*"'
    query = f"sum(appmetrica_worker_desired_replicas{{{selector}}})"
    assert trigger["metadata"]["query"] == query
    assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")


@pytest.mark.parametrize("name", [name for name in VALUE_SETS if name.startswith("autoscaling")])
def test_autoscaling_owns_the_number_of_replicas(name: str) -> None:
    assert "replicas" not in one(VALUE_SETS[name], "Deployment")["spec"]
