"""The chart's alerts and dashboards, and the notes and links about them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.install.chart import (
    NOTES,
    merged,
    objects,
    one,
    rendered,
)
from tests.install.object_check import check_object
from tests.install.value_sets import (
    MINIMAL,
    VALUE_SETS,
)
from tests.install.values import CHART


def test_alerts_and_dashboards_are_those_of_the_files() -> None:
    values = VALUE_SETS["alerts and dashboards"]
    alerts = CHART / "files" / "alerts.yaml"
    assert one(values, "PrometheusRule")["spec"] == yaml.safe_load(alerts.read_text())
    shown = {
        name: json.loads(text)
        for found in objects(values)
        if found["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in found["data"].items()
    }
    files = (CHART / "files" / "dashboards").glob("*.json")
    assert shown == {file.name: json.loads(file.read_text()) for file in files}
    assert {"fleet.json", "worker.json"} <= shown.keys()


DASHBOARD = {"title": "A worker", "panels": [{"legendFormat": "{{topic}}: {{ .partition }}"}]}


@pytest.fixture
def chart_with_dashboard(tmp_path: Path) -> Path:
    """A copy of the chart with one dashboard, whatever dashboards the chart has."""
    copy = tmp_path / "helm"
    shutil.copytree(CHART, copy)
    shutil.rmtree(copy / "files" / "dashboards", ignore_errors=True)
    (copy / "files" / "dashboards").mkdir()
    (copy / "files" / "dashboards" / "one_worker.json").write_text(json.dumps(DASHBOARD))
    return copy


def test_each_dashboard_is_a_configmap_for_the_sidecar(chart_with_dashboard: Path) -> None:
    dashboards = {
        "enabled": True,
        "labels": {"grafana_dashboard": "yes"},
        "annotations": {"grafana_folder": "Events"},
    }
    values = merged(MINIMAL, {"monitoring": {"dashboards": dashboards}})
    texts = rendered(values, path=chart_with_dashboard)
    found = yaml.safe_load(texts["templates/dashboards.yaml"])
    assert found["metadata"]["name"] == "amw-appmetrica-worker-one-worker"
    assert found["metadata"]["labels"]["grafana_dashboard"] == "yes"
    assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "amw"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Events"}
    # Grafana's own braces stay.
    assert json.loads(found["data"]["one_worker.json"]) == DASHBOARD
    check_object(found)


def test_dashboards_are_off_until_wanted(chart_with_dashboard: Path) -> None:
    texts = rendered(MINIMAL, path=chart_with_dashboard)
    assert texts["templates/dashboards.yaml"].strip() == ""


def test_notes_name_alerts_and_dashboards_to_look_at(chart_with_dashboard: Path) -> None:
    notes = rendered(VALUE_SETS["alerts and dashboards"], path=chart_with_dashboard)[NOTES]
    assert "PrometheusRule amw-appmetrica-worker" in notes
    assert "\n  AppMetricaWorkerNotDelivering\n" in notes
    assert "\n  A worker\n" in notes
    without = rendered(MINIMAL, path=chart_with_dashboard)[NOTES]
    assert "monitoring.prometheusRule.enabled" in without
    assert "monitoring.dashboards.enabled" in without


def test_links_of_alerts_and_dashboards_lead_to_the_given_runbook() -> None:
    address = "https://wiki.example.com/runbook"
    values = merged(VALUE_SETS["alerts and dashboards"], {"monitoring": {"runbookUrl": address}})
    texts = [
        text
        for path, text in rendered(values).items()
        if path in {"templates/monitoring.yaml", "templates/dashboards.yaml"}
    ]
    assert len(texts) == 2
    assert all(f"{address}#application-held" in text for text in texts)
    assert not any("docs/runbook.md#" in text for text in texts)
