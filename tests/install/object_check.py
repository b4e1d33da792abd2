"""Checks objects of the chart as API servers of several versions and operators would."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule, ServiceMonitor
from kubernetes_validate.utils import latest_version, validate

from tests.install.chart import (
    Object,
)

VERSIONS = ["1.31", "1.32", "1.33", "1.34", latest_version()]
MODELS: dict[str, Any] = {
    model.model_fields["kind"].default: model
    for model in (ScaledObject, PodMonitor, ServiceMonitor, PrometheusRule)
}
# Strimzi has no published models: the fields of its definitions that the chart may use.
STRIMZI_FIELDS = {
    "KafkaTopic": {"topicName", "partitions", "replicas", "config"},
    "KafkaUser": {"authentication", "authorization"},
}


@cache
def _validated(text: str, version: str) -> None:
    validate(json.loads(text), version, strict=True)


def check_object(found: Object) -> None:
    """Check an object by the schema of its kind."""
    kind = found["kind"]
    if kind in MODELS:
        # The models pass over fields that they don't know: these would be missing afterwards.
        model = MODELS[kind].model_validate(found)
        assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == found
    elif kind in STRIMZI_FIELDS:
        assert found["spec"].keys() <= STRIMZI_FIELDS[kind]
        assert found["metadata"]["labels"]["strimzi.io/cluster"]
    else:
        for version in VERSIONS:
            _validated(json.dumps(found, sort_keys=True), version)
