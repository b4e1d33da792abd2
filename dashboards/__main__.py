"""Write the dashboards: part of `make schema`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dashboards import grafana
from dashboards.fleet import FLEET
from dashboards.worker import WORKER

FOLDER = Path(__file__).parents[1] / "helm" / "files" / "dashboards"
BOARDS = (FLEET, WORKER)


def generated() -> Mapping[Path, str]:
    """The text of each file."""
    return {FOLDER / f"{board.name}.json": grafana.text(board) for board in BOARDS}


def main() -> None:
    """Write each file."""
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
