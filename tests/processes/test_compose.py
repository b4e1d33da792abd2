"""`compose.yaml` and what it mounts, checked without Docker: by schema and each program's tool."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft7Validator

from worker.cli.main import cli
from worker.cli.sandbox import sandbox
from worker.sandbox.kafka_node import ENDPOINT
from worker.settings.load import load
from worker.tools.environment_check import memory_needed_bytes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "compose"
CHECK_SECONDS_MAX = 60


def read(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


COMPOSE = read(ROOT / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, Path]:
    """The mounted files and folders by their path in the container."""
    found = {}
    for text in SERVICES[service]["volumes"]:
        here, there, mode = text.split(":")
        assert mode == "ro"
        found[there] = ROOT / here
    return found


def test_it_fits_the_compose_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    faults = Draft7Validator(json.loads(schema.read_text(encoding="utf-8"))).iter_errors(COMPOSE)
    assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []


def test_images_have_a_tag_and_no_registry() -> None:
    images = {service["image"] for service in SERVICES.values()}
    assert all(re.fullmatch(r"[a-z-]+(/[a-z-]+)?:[\w.]+", image) for image in images)
    assert not any(image.endswith(":latest") for image in images)
    version = ENDPOINT.partition("+")[0].rpartition(":")[2]
    assert f"apache/kafka:{version}" in images


def test_every_mounted_file_exists_and_ports_are_open_on_this_machine_only() -> None:
    mounted = [
        path
        for service, definition in SERVICES.items()
        if "volumes" in definition
        for path in mounts(service).values()
    ]
    ports = [port for definition in SERVICES.values() for port in definition.get("ports", [])]
    assert mounted and ports
    assert [path for path in mounted if not path.exists()] == []
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_worker_accepts_its_configuration_and_its_memory() -> None:
    worker = SERVICES["worker"]
    (file,) = mounts("worker").values()
    checked = CliRunner().invoke(
        cli, ["check-config", "--config", str(file)], env=worker["environment"]
    )
    assert checked.exit_code == 0, checked.output
    settings = load(file, worker["environment"], None, {}).settings
    route, _ = settings.resolved_routes()
    created = re.findall(r"for topic in (.*);", SERVICES["topics"]["command"][-1])[0].split()
    assert created == [route.topic, settings.dead_letter.topic, route.parking_topic]
    needed = memory_needed_bytes(settings)
    assert needed <= int(worker["mem_limit"].removesuffix("m")) * 1024 * 1024
    assert str(settings.appmetrica.base_url) == "http://emulator:8080/"


def test_worker_and_emulator_have_the_same_key() -> None:
    (key,) = SERVICES["worker"]["environment"].values()
    assert f"1111={key}" in SERVICES["emulator"]["command"]
    context = sandbox.make_context("sandbox", SERVICES["emulator"]["command"][1:])
    assert (context.params["host"], context.params["port"]) == ("0.0.0.0", 8080)


def test_prometheus_accepts_its_configuration_with_the_alerts(
    promtool: str, tmp_path: Path
) -> None:
    for there, here in mounts("prometheus").items():
        shutil.copy(here, tmp_path / Path(there).name)
    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS_MAX,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"\d+ rules found", checked.stdout)


def test_prometheus_scrapes_the_worker_and_grafana_reads_prometheus() -> None:
    (scrape,) = read(FOLDER / "prometheus.yml")["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["worker:9090"]}]
    sources = read(FOLDER / "grafana" / "datasources.yaml")
    assert sources["apiVersion"] == 1
    (source,) = sources["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["jsonData"]["timeInterval"] == "5s"
    assert read(FOLDER / "prometheus.yml")["global"]["scrape_interval"] == "5s"


def test_grafana_finds_the_dashboards() -> None:
    provisioned = read(FOLDER / "grafana" / "dashboards.yaml")
    assert provisioned["apiVersion"] == 1
    (provider,) = provisioned["providers"]
    assert provider["type"] == "file"
    folder = mounts("grafana")[provider["options"]["path"]]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / Path(home).name).exists()


@pytest.mark.parametrize("service", ["topics", "producer"])
def test_the_shell_commands_are_valid(service: str) -> None:
    # Compose replaces $$ by $.
    text = SERVICES[service]["command"][-1].replace("$$", "$")
    checked = subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
