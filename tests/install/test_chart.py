"""The chart's objects are what API servers and operators accept, and right for this daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

import worker
from tests.certificates import make_certificates
from tests.install.chart import (
    NOTES,
    Values,
    container,
    merged,
    objects,
    one,
    pod,
    rendered,
)
from tests.install.golden import golden_files
from tests.install.object_check import check_object
from tests.install.value_sets import (
    MINIMAL,
    OF_VERSION_0_1_0,
    STRIMZI,
    VALUE_SETS,
)
from tests.install.values import CHART
from worker.settings.load import load
from worker.tools.environment_check import MEBIBYTE, memory_needed_bytes

every_set = pytest.mark.parametrize(
    "values", [pytest.param(values, id=name) for name, values in VALUE_SETS.items()]
)


@every_set
def test_every_object_is_valid(values: Values) -> None:
    found = objects(values)
    assert {"Deployment", "ConfigMap"} <= {candidate["kind"] for candidate in found}
    for candidate in found:
        check_object(candidate)


@every_set
def test_lint_has_no_complaint(values: Values) -> None:
    report = helm_python.lint(CHART, dict(values), strict=True, namespace="events")
    # Severity 1 is information: an icon is recommended.
    assert [note for note in report["messages"] if note["severity"] > 1] == []
    assert not report["errors"]


@every_set
def test_worker_accepts_the_configuration_that_the_chart_writes(
    values: Values, tmp_path: Path
) -> None:
    config = one(values, "ConfigMap", _name(values))["data"]["config.yaml"]
    file = tmp_path / "config.yaml"
    file.write_text(config)
    # What is in secrets: keys, passwords and certificates.
    applications = yaml.safe_load(config)["appmetrica"]["applications"]
    prefix = "AMW_APPMETRICA__APPLICATIONS__"
    environment = {f"{prefix}{name}__POST_API_KEY": "key-of-a-test" for name in applications}
    flags = {}
    if "sasl_password_file" in config:
        environment["AMW_KAFKA__SASL_PASSWORD"] = "password-of-a-test"
        flags["kafka.ssl_ca_file"] = "null"
    if "token_file" in config:
        environment["AMW_ADMIN__TOKEN"] = "token-of-a-test-long-enough"
    if "ssl_certificate_file" in config:
        certificates = make_certificates(tmp_path)
        flags["admin.ssl_certificate_file"] = str(certificates.certificate)
        flags["admin.ssl_key_file"] = str(certificates.key)
    load(file, environment, None, flags)


def _name(values: Values) -> str:
    name: str = one(values, "Deployment")["metadata"]["name"]
    return name


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in golden_files()])
def test_rendered_text_is_as_reviewed(path: Path) -> None:
    """After a wanted change: `make schema`, then review the difference."""
    assert path.read_text(encoding="utf-8") == golden_files()[path]


def test_chart_is_of_this_worker() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == worker.__version__


@pytest.mark.parametrize("records", [16_777_216, 268_435_456, 2**40])
@pytest.mark.parametrize("keys", [8, 1_000_000, 100_000_000])
def test_chart_computes_the_memory_that_the_worker_computes(
    records: int, keys: int, tmp_path: Path
) -> None:
    config = {
        "limits": {"memory_bytes_max": records},
        "dedup": {"window_rows_max": keys},
        "batching": {"body_bytes_max": 4096},
    }
    _assert_same_memory(config, tmp_path)


def _assert_same_memory(config: dict[str, Any], tmp_path: Path) -> None:
    values = merged(MINIMAL, {"config": config})
    file = tmp_path / "config.yaml"
    file.write_text(one(values, "ConfigMap")["data"]["config.yaml"])
    key = {"AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY": "key-of-a-test"}
    needed = memory_needed_bytes(load(file, key, None, {}).settings)
    resources = container(values)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    given = int(resources["limits"]["memory"].removesuffix("Mi")) * MEBIBYTE
    assert needed * 1.2 <= given < needed * 1.2 + 33 * MEBIBYTE


@pytest.mark.parametrize(
    "config",
    [
        {"delivery": {"requests_in_flight_max": 256}},
        {"delivery": {"request": "params", "query_bytes_max": 1_048_576}},
        {"batching": {"body_bytes_max": 33_554_432}},
        {"routes": [{"topic": "a", "batching": {"body_bytes_max": 33_554_432}}, {"topic": "b"}]},
        {"routes": [{"topic": "a", "batching": {"body_bytes_max": 65_536}}]},
    ],
    ids=["requests", "query strings", "bodies", "bodies of a route", "small bodies of a route"],
)
def test_chart_computes_the_requests_that_the_worker_computes(
    config: dict[str, Any], tmp_path: Path
) -> None:
    _assert_same_memory(config, tmp_path)


def test_pod_has_more_time_than_the_drain() -> None:
    assert pod(MINIMAL)["terminationGracePeriodSeconds"] == 60
    values = VALUE_SETS["other port and a long drain"]
    assert pod(values)["terminationGracePeriodSeconds"] == 111


def test_probes_ask_the_port_of_the_configuration() -> None:
    worker_container = container(VALUE_SETS["other port and a long drain"])
    assert worker_container["ports"] == [{"name": "admin", "containerPort": 8080}]
    paths = {
        name: worker_container[f"{name}Probe"]["httpGet"]
        for name in ("startup", "liveness", "readiness")
    }
    assert paths == {
        "startup": {"path": "/livez", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }


def _probes(values: Values) -> list[dict[str, Any]]:
    found = container(values)
    return [found[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]


def test_probes_and_scrapes_of_a_guarded_admin_port_use_tls_and_the_token() -> None:
    values = VALUE_SETS["token and TLS on the admin port"]
    assert {probe["scheme"] for probe in _probes(values)} == {"HTTPS"}
    (endpoint,) = one(values, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["scheme"], endpoint["port"]) == ("https", "admin")
    assert endpoint["tlsConfig"]["serverName"] == "worker.example"
    assert endpoint["authorization"]["credentials"] == {"name": "worker-admin", "key": "token"}
    (endpoint,) = one(VALUE_SETS["token of a variable, TLS, service monitor"], "ServiceMonitor")[
        "spec"
    ]["endpoints"]
    assert (endpoint["scheme"], "authorization" in endpoint) == ("https", True)
    plain = one(VALUE_SETS["pod monitor"], "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert plain == [{"port": "admin", "path": "/metrics"}]


def test_an_annotated_pod_with_tls_is_scraped_by_https() -> None:
    values = merged(MINIMAL, {"config": {"admin": {"ssl_certificate_file": "/c"}}})
    annotations = one(values, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scheme"] == "https"


def test_metrics_on_a_port_of_their_own_are_all_that_is_open() -> None:
    values = VALUE_SETS["metrics on a port of their own, the rest within the pod"]
    assert {probe["port"] for probe in _probes(values)} == {"metrics"}
    names = [port["name"] for port in one(values, "Service")["spec"]["ports"]]
    (endpoint,) = one(values, "ServiceMonitor")["spec"]["endpoints"]
    (ingress,) = one(values, "NetworkPolicy")["spec"]["ingress"]
    assert (names, endpoint["port"]) == (["metrics"], "metrics")
    assert [port["port"] for port in ingress["ports"]] == [9100]
    assert ingress["from"] == values["networkPolicy"]["metricsFrom"]
    both = merged(values, {"config": {"admin": {"host": "::"}}})
    rules = one(both, "NetworkPolicy")["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [[9090], [9100]]
    assert [port["name"] for port in one(both, "Service")["spec"]["ports"]] == ["admin", "metrics"]


@every_set
def test_pods_meet_the_restricted_standard(values: Values) -> None:
    pods = [pod(values), one(values, "Pod")["spec"]]
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_new_configuration_replaces_the_pods_and_a_new_key_does_not() -> None:
    def template(values: Values) -> object:
        return one(values, "Deployment")["spec"]["template"]

    values = VALUE_SETS["keys in the values"]
    assert template(merged(values, {"keys": {"values": {"1111": "another"}}})) == template(values)
    changed = merged(values, {"config": {"log": {"level": "debug"}}})
    assert template(changed) != template(values)


def test_key_files_are_mounted_as_a_folder_which_kubernetes_updates() -> None:
    mounts = {mount["name"]: mount for mount in container(MINIMAL)["volumeMounts"]}
    assert "subPath" not in mounts["keys"]
    config = yaml.safe_load(one(MINIMAL, "ConfigMap")["data"]["config.yaml"])
    file = config["appmetrica"]["applications"]["1111"]["post_api_key_file"]
    assert file == f"{mounts['keys']['mountPath']}/1111"


def test_state_is_in_an_emptydir_where_the_configuration_says() -> None:
    values = merged(MINIMAL, {"config": {"state_dir": "/scratch"}})
    mounts = {mount["name"]: mount["mountPath"] for mount in container(values)["volumeMounts"]}
    assert mounts["state"] == "/scratch"
    without = VALUE_SETS["no state"]
    assert "state" not in {mount["name"] for mount in container(without)["volumeMounts"]}


def test_pod_of_helm_test_is_outside_of_service_and_budget() -> None:
    check = one(MINIMAL, "Pod")
    assert check["metadata"]["annotations"]["helm.sh/hook"] == "test"
    selector = one(MINIMAL, "Service")["spec"]["selector"]
    assert selector == one(MINIMAL, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= check["metadata"]["labels"].items()
    policy = one(VALUE_SETS["network policy"], "NetworkPolicy")["spec"]["podSelector"]
    assert policy["matchLabels"].items() <= check["metadata"]["labels"].items()
    names = policy["matchExpressions"][0]["values"]
    assert check["metadata"]["labels"]["app.kubernetes.io/name"] in names


def test_network_policy_has_the_ports_of_the_configuration() -> None:
    values = merged(
        VALUE_SETS["network policy"],
        {
            "config": {
                "kafka": {"bootstrap_servers": "kafka-1:9093, kafka-2:9093,kafka-3,[::1]:9094"},
                "appmetrica": {"base_url": "http://proxy.example:8080/api"},
            }
        },
    )
    tokens = {"sasl_oauth": {"token_endpoint": "https://id.example:8443/token"}}
    rules = one(merged(values, {"config": {"kafka": tokens}}), "NetworkPolicy")["spec"]["egress"]
    assert rules[2]["ports"] == [{"protocol": "TCP", "port": 8443}]
    rules = one(values, "NetworkPolicy")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [
        [9093, 9092, 9094],
        [8080],
        [53, 53],
    ]
    assert one(MINIMAL | {"networkPolicy": {"enabled": True}}, "NetworkPolicy")["spec"]["egress"][
        1
    ]["ports"] == [{"protocol": "TCP", "port": 443}]


def test_values_of_the_previous_version_keep_their_names_and_selectors() -> None:
    """The selector of a Deployment can't change: an upgrade would fail."""
    deployment = one(OF_VERSION_0_1_0, "Deployment")
    assert deployment["metadata"]["name"] == "amw-appmetrica-worker"
    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "appmetrica-worker",
        "app.kubernetes.io/instance": "amw",
    }
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    config = yaml.safe_load(one(OF_VERSION_0_1_0, "ConfigMap")["data"]["config.yaml"])
    state = config.pop("state_dir")
    assert config == OF_VERSION_0_1_0["config"]
    assert state == "/var/lib/appmetrica-worker"


def test_release_that_is_named_like_the_chart_is_not_named_twice() -> None:
    texts = rendered(MINIMAL, "appmetrica-worker")
    deployment = yaml.safe_load(texts["templates/deployment.yaml"])
    assert deployment["metadata"]["name"] == "appmetrica-worker"


@every_set
def test_notes_name_the_first_commands(values: Values) -> None:
    notes = rendered(values)[NOTES]
    assert "helm test amw --namespace events --logs" in notes
    assert f"deployment/{_name(values)}" in notes


def test_notes_name_the_topics_that_must_exist_and_what_is_doubtful() -> None:
    notes = rendered(VALUE_SETS["two routes"])[NOTES]
    assert (
        "These topics must exist: offline-events.dlq, offline-events.parked, Purchases_v2.dlq."
        in notes
    )
    assert "must exist" not in rendered(merged(MINIMAL, STRIMZI))[NOTES]
    assert "resources.requests.memory (384Mi)" in rendered(OF_VERSION_0_1_0)[NOTES]
    assert "keys.secretName" in rendered(VALUE_SETS["keys in the values"])[NOTES]
