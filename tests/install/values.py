"""The schema of the chart's values.

Around the worker's own schema, with the comments of values.yaml as descriptions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from worker.settings.schema import Settings

CHART = Path(__file__).parents[2] / "helm"
VALUES = CHART / "values.yaml"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"

Schema = dict[str, Any]

# A longer default is shown by values.yaml only.
DEFAULT_CHARACTERS_MAX = 60
_TABLE = re.compile(r"(<!-- generated: values -->\n).*?(<!-- end -->)", re.DOTALL)


def _closed(**properties: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _integer(minimum: int, maximum: int | None = None) -> Schema:
    bound = {} if maximum is None else {"maximum": maximum}
    return {"type": "integer", "minimum": minimum, **bound}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


TEXT: Schema = {"type": "string"}
SWITCH: Schema = {"type": "boolean"}
# Objects of Kubernetes, which the API server checks.
NATIVE: Schema = {"type": "object"}
NATIVES = _list_of(NATIVE)
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
QUANTITY: Schema = {"type": ["string", "integer"]}
COUNT_OR_SHARE: Schema = {"type": ["integer", "string", "null"], "pattern": "^[0-9]+%$"}
PORTS = _list_of(_integer(1, 65_535))
FOLDER = "^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$"

_RESOURCES: Schema = {
    "type": ["object", "null"],
    "additionalProperties": QUANTITY,
}
_PROBE = _closed(
    periodSeconds=_integer(1),
    failureThreshold=_integer(1),
    timeoutSeconds=_integer(1),
    initialDelaySeconds=_integer(0),
)
_MONITOR = _closed(enabled=SWITCH, labels=TEXTS, interval=TEXT)

# The root, apart from `config`.
PROPERTIES: dict[str, Schema] = {
    "replicas": _integer(0),
    "partitions": _or_null(_integer(1)),
    "image": _closed(
        repository={**TEXT, "minLength": 1},
        tag=TEXT,
        digest={**TEXT, "pattern": "^(sha256:[0-9a-f]{64})?$"},
        pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    ),
    "imagePullSecrets": _list_of(TEXT),
    "keys": _closed(
        secretName=TEXT,
        values={
            "type": "object",
            "additionalProperties": {**TEXT, "minLength": 4},
            "propertyNames": {"pattern": "^[1-9][0-9]{0,18}$"},
        },
    ),
    "secretFiles": {**TEXTS, "propertyNames": {"pattern": FOLDER}},
    "env": _list_of({"type": "object", "required": ["name"]}),
    "envFrom": NATIVES,
    "resources": _closed(requests=_RESOURCES, limits=_RESOURCES, claims=NATIVES),
    "terminationGracePeriodSeconds": _or_null(_integer(1)),
    "strategy": _closed(type={"enum": ["RollingUpdate", "Recreate"]}, rollingUpdate=NATIVE),
    "revisionHistoryLimit": _integer(0),
    "probes": _closed(startup=_PROBE, liveness=_PROBE, readiness=_PROBE),
    "serviceAccount": _closed(create=SWITCH, name=TEXT, annotations=TEXTS, automountToken=SWITCH),
    "podSecurityContext": NATIVE,
    "securityContext": NATIVE,
    "service": _closed(enabled=SWITCH, annotations=TEXTS),
    "podDisruptionBudget": _closed(
        enabled=SWITCH, maxUnavailable=COUNT_OR_SHARE, minAvailable=COUNT_OR_SHARE
    ),
    "networkPolicy": _closed(
        enabled=SWITCH,
        ingressFrom=NATIVES,
        metricsFrom=NATIVES,
        kafka=_closed(to=NATIVES, ports=PORTS),
        api=_closed(to=NATIVES, ports=PORTS),
        dns=_closed(to=NATIVES),
        otlp=_closed(to=NATIVES, ports=PORTS),
        extraEgress=NATIVES,
    ),
    "monitoring": _closed(
        annotations=SWITCH,
        podMonitor=_MONITOR,
        serviceMonitor=_MONITOR,
        tlsConfig=NATIVE,
        authorization=NATIVE,
        runbookUrl=TEXT,
        prometheusRule=_closed(enabled=SWITCH, labels=TEXTS),
        dashboards=_closed(enabled=SWITCH, labels=TEXTS, annotations=TEXTS),
    ),
    "autoscaling": _closed(
        mode={"enum": ["none", "hpa", "keda"]},
        minReplicas=_integer(1),
        maxReplicas=_integer(1),
        hpa=_closed(targetCPUUtilizationPercentage=_integer(1, 100)),
        keda=_closed(
            trigger={"enum": ["lag", "desired_replicas"]},
            lagThreshold=_integer(1),
            prometheusAddress=TEXT,
            authenticationRef=TEXT,
            pollingInterval=_integer(1),
            annotations=TEXTS,
        ),
    ),
    "strimzi": _closed(
        enabled=SWITCH,
        cluster=TEXT,
        namespace=TEXT,
        apiVersion={"enum": ["kafka.strimzi.io/v1", "kafka.strimzi.io/v1beta2"]},
        topics=_closed(enabled=SWITCH, partitions=_integer(1), replicas=_integer(1), config=NATIVE),
        user=_closed(enabled=SWITCH, name=TEXT, authentication={"enum": ["scram-sha-512", "tls"]}),
    ),
    "topologySpreadConstraints": NATIVES,
    "priorityClassName": TEXT,
    "nodeSelector": TEXTS,
    "tolerations": NATIVES,
    "affinity": NATIVE,
    "hostAliases": NATIVES,
    "labels": TEXTS,
    "podLabels": TEXTS,
    "podAnnotations": TEXTS,
    "initContainers": NATIVES,
    "extraContainers": NATIVES,
    "extraVolumes": NATIVES,
    "extraVolumeMounts": NATIVES,
    "nameOverride": TEXT,
    "fullnameOverride": TEXT,
    # Helm adds it when the chart is part of another.
    "global": NATIVE,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value with a comment above it."""

    path: str
    default: object
    description: str


def described_values() -> Iterator[Value]:
    """The values of values.yaml that have a comment directly above them, in the file's order."""
    text = VALUES.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    yield from _described("", root, text.splitlines())


def _described(prefix: str, node: yaml.Node | None, lines: list[str]) -> Iterator[Value]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        comment = _comment_above(key.start_mark.line, lines)
        if comment:
            yield Value(path, SafeConstructor().construct_document(value), comment)
        if not getattr(value, "flow_style", False):
            yield from _described(f"{path}.", value, lines)


def _comment_above(line: int, lines: list[str]) -> str:
    first = line
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(text.strip().removeprefix("#").strip() for text in lines[first:line])


def schema() -> Schema:
    """The schema of the chart's values, with the worker's own in it."""
    worker = Settings.model_json_schema()
    definitions = worker.pop("$defs")
    properties = json.loads(json.dumps(PROPERTIES))
    for value in described_values():
        place = _place(properties, value.path)
        if place is not None:
            place["description"] = value.description
    properties["config"] = {"$ref": "#/$defs/Settings"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart appmetrica-worker",
        "type": "object",
        "additionalProperties": False,
        "required": ["config"],
        "properties": properties,
        "$defs": {"Settings": worker, **definitions},
    }


def _place(properties: dict[str, Schema], path: str) -> Schema | None:
    name, _, rest = path.partition(".")
    found: Schema | None = properties.get(name)
    if found is None or not rest:
        return found
    nested = found.get("properties")
    return _place(nested, rest) if nested is not None else None


def schema_text() -> str:
    """The text of values.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def readme_text() -> str:
    """The text of the chart's README, with the table of values made anew."""
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    rows += [
        f"| `{value.path}` | {_default(value.default)} | {_cell(value.description)} |"
        for value in described_values()
    ]
    table = "\n".join(rows)
    text = README.read_text(encoding="utf-8")
    return _TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text)


def _default(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{_cell(text)}`" if len(text) <= DEFAULT_CHARACTERS_MAX else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def generated() -> Mapping[Path, str]:
    """Every generated file of the chart with the text that it must have."""
    return {SCHEMA: schema_text(), README: readme_text()}
