"""Two installations as text, to be reviewed: the smallest, and everything on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.install.chart import Values, merged, rendered
from tests.install.value_sets import EVERYTHING, MINIMAL

DIRECTORY = Path(__file__).with_name("golden")
# Alerts and dashboards are generated, and reviewed where they are made.
_WITHOUT_FILES = {
    "monitoring": {"prometheusRule": {"enabled": False}, "dashboards": {"enabled": False}}
}


def golden_files() -> Mapping[Path, str]:
    """The text of each file."""
    return {
        DIRECTORY / "minimal.yaml": _text(MINIMAL),
        DIRECTORY / "everything.yaml": _text(merged(EVERYTHING, _WITHOUT_FILES)),
    }


def _text(values: Values) -> str:
    return "".join(
        f"# {path}\n{text.strip()}\n---\n"
        for path, text in sorted(rendered(values).items())
        if text.strip()
    )
