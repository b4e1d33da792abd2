"""The configuration of Alertmanager in the documents is valid and routes each alert as it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECK_SECONDS_MAX = 60


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The file of the page."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(# alertmanager\.yml\n.*?)^```$", page, re.M | re.S)
    file = tmp_path / "alertmanager.yml"
    file.write_text(text, encoding="utf-8")
    return file


def run(*command: str) -> str:
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=CHECK_SECONDS_MAX, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_alertmanager_accepts_the_configuration(amtool: str, configuration: Path) -> None:
    assert "SUCCESS" in run(amtool, "check-config", str(configuration))


@pytest.mark.parametrize(
    ("severity", "receivers"), [("critical", "telegram,mail"), ("warning", "mail")]
)
def test_an_alert_goes_to_its_receivers(
    amtool: str, configuration: Path, severity: str, receivers: str
) -> None:
    told = run(
        *(amtool, "config", "routes", "test", f"--config.file={configuration}"),
        *(f"severity={severity}", "alertname=AppMetricaWorkerNotDelivering"),
    )
    assert told.strip() == receivers


def test_an_alert_of_another_program_goes_to_the_default(amtool: str, configuration: Path) -> None:
    other = ("severity=critical", "alertname=DiskFull")
    told = run(amtool, "config", "routes", "test", f"--config.file={configuration}", *other)
    assert told.strip() == "mail"
