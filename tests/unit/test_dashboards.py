"""The dashboards as files: in step with their code, complete, and with texts that help."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dashboards.__main__ import BOARDS, generated
from dashboards.panels import Board, Panel, Query
from worker.edges.telemetry.metrics.collector import METRICS
from worker.edges.telemetry.metrics.definition import PREFIX

PANELS = [
    pytest.param(board, panel, id=f"{board.name}: {panel.title}")
    for board in BOARDS
    for panel in board.panels
]
ROOT = Path(__file__).parents[2]
# Of Grafana itself; the others are variables of the dashboard.
BUILT_IN = {"__range", "__rate_interval"}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in generated()])
def test_file_is_as_make_schema_writes_it(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run `make schema`"


def test_folder_has_no_other_file() -> None:
    (folder,) = {path.parent for path in generated()}
    assert set(folder.iterdir()) == set(generated())


def test_every_metric_is_shown() -> None:
    shown = {
        name
        for text in generated().values()
        for name in re.findall(rf"{PREFIX}(\w+)", text)
        for name in (name, re.sub(r"_(bucket|sum|count)$", "", name))
    }
    assert {metric.name for metric in METRICS} - shown == set()


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_metric_of_a_panel_is_defined_and_limited_to_the_chosen_workers(
    board: Board, panel: Panel
) -> None:
    defined = {metric.name for metric in METRICS}
    assert panel.queries
    for query in panel.queries:
        named = re.findall(rf"{PREFIX}(\w+?)(?:_bucket|_sum|_count)?\{{([^}}]*)\}}", query.promql)
        assert set(query.metrics) == {name for name, _ in named} <= defined
        assert all('instance=~"$instance"' in labels for _, labels in named)


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_says_what_to_do_and_links_to_a_section_that_exists(
    board: Board, panel: Panel
) -> None:
    assert len(panel.description) > 25
    assert panel.description.endswith(".")
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    anchors = {one.lower().replace(" ", "-") for one in re.findall(r"^## (.*)$", runbook, re.M)}
    assert panel.runbook in {"", *anchors}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_titles_are_unique_and_variables_are_defined(board: Board) -> None:
    assert max(Counter(panel.title for panel in board.panels).values()) == 1
    built = _built(board)
    defined = {variable["name"] for variable in built["templating"]["list"]}
    used = set(re.findall(r"\$([a-z_]\w*)", json.dumps([built["panels"], built["templating"]])))
    assert used - {"__all"} - BUILT_IN <= defined
    assert defined - {"datasource", "namespace", "job", "group", "instance"} <= used


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_fill_rows_of_24_columns_without_overlap(board: Board) -> None:
    places = [panel["gridPos"] for panel in _built(board)["panels"]]
    cells = Counter(
        (place["x"] + column, place["y"] + line)
        for place in places
        for column in range(place["w"])
        for line in range(place["h"])
    )
    assert max(cells.values()) == 1
    assert max(column for column, _ in cells) < 24


def test_a_query_gets_prefix_and_variables_in_every_metric() -> None:
    query = Query('rate(commits_total{result="ok"}[5m]) / ready or process_cpu_seconds_total', "")
    selected = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
    assert query.promql == (
        f'rate({PREFIX}commits_total{{result="ok",{selected}}}[5m]) / {PREFIX}ready{{{selected}}} '
        f"or process_cpu_seconds_total{{{selected}}}"
    )
    assert query.metrics == {"commits_total", "ready"}


def _built(board: Board) -> dict[str, Any]:
    (text,) = [text for path, text in generated().items() if path.stem == board.name]
    built = json.loads(text)
    assert isinstance(built, dict)
    return built
