"""The dashboards on real workers: no panel is empty in its run, and each fault shows.

The panels of each run are drawn to `build/dashboards`, to be looked at.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.drawing import draw
from tests.e2e.grafana_queries import PrometheusApi, Shown, shown, variables
from tests.e2e.watched import RUNS, Watched, watched
from worker.edges.telemetry.metrics.collector import METRICS
from worker.edges.telemetry.metrics.definition import PREFIX, HistogramMetric

ROOT = Path(__file__).parents[2]
BOARDS = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / "helm" / "files" / "dashboards").glob("*.json"))
}
PICTURES = ROOT / "build" / "dashboards"
# A delivery within the run is in time only if it does not wait for the fault to end.
SECONDS = "5"

# The runs in which a panel has to show something, where these are not all of them.
SHOWN_IN: dict[str, set[str]] = {
    "Applications on hold or throttled": {"hold", "outage"},
    "On hold or throttled": {"hold", "outage"},
    "Alerts": {"hold"},
    "Oldest event has left": {"outage"},
    "Oldest event that waits": {"outage"},
    "Loss begins in": {"outage"},
    # A rate starts anew when partitions move, and has a value after half a minute.
    "Produced and settled": {"healthy", "hold", "outage"},
    # A forecast of the last minutes, which a run of one minute may not have.
    "Time until the lag is gone": set(),
    # The workers run in no container.
    "Memory of the container": set(),
}
# Metrics that may have no value in any run, and why.
EMPTY = {
    "memory_limit_bytes": "the workers run in no container",
    "lag_drain_seconds": "infinite unless the lag has fallen for some time",
}


@dataclass(frozen=True)
class Observed:
    """The panels of each run and dashboard, the names of all metrics, and the time of the runs."""

    panels: dict[tuple[str, str], dict[str, Shown]]
    names: set[str]
    time: tuple[float, float]


@pytest.fixture(scope="module")
def observed(
    bootstrap_servers: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    directory = tmp_path_factory.mktemp("watched")
    found = asyncio.run(_observe(bootstrap_servers, directory))
    for (run, board), panels in found.panels.items():
        title = f"{BOARDS[board]['title']}: {run}"
        draw(PICTURES / f"{run}-{board}.png", title, panels, found.time)
    yield found


async def _observe(bootstrap_servers: str, directory: Path) -> Observed:
    number = iter(range(100))
    new_topic: Callable[[str], str] = lambda name: f"watched-{name}-{next(number)}"  # noqa: E731
    async with (
        watched(bootstrap_servers, directory, new_topic) as runs,
        aiohttp.ClientSession() as session,
    ):
        panels = {
            (run, board): await _panels(session, runs, run, BOARDS[board])
            for run in RUNS
            for board in BOARDS
        }
        api = PrometheusApi(session, runs.url, runs.began, runs.ended)
        return Observed(panels, await api.names(), (runs.began, runs.ended))


async def _panels(
    session: aiohttp.ClientSession, runs: Watched, run: str, board: dict[str, Any]
) -> dict[str, Shown]:
    """The panels of a run; a number is that of the last moment of the fault."""
    whole = PrometheusApi(session, runs.url, runs.began, runs.ended)
    until_recovery = PrometheusApi(session, runs.url, runs.began, runs.recovery)
    values = await variables(whole, board, {"job": run, "seconds": SECONDS})
    found = {}
    for panel in board["panels"]:
        if panel["type"] != "row":
            api = until_recovery if panel["type"] == "stat" else whole
            found[panel["title"]] = await shown(api, panel, values)
    return found


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("board", BOARDS)
def test_no_panel_is_empty_in_the_runs_that_it_is_for(
    observed: Observed, board: str, run: str
) -> None:
    empty = {
        title
        for title, panel in observed.panels[run, board].items()
        if run in SHOWN_IN.get(title, RUNS) and not any(one.points for one in panel.series)
    }
    assert empty == set()


@pytest.mark.parametrize("board", BOARDS)
def test_every_query_shows_something_in_some_run(observed: Observed, board: str) -> None:
    silent = [
        target["expr"]
        for title in observed.panels["healthy", board]
        for number, target in enumerate(observed.panels["healthy", board][title].panel["targets"])
        if not any(
            one.points for run in RUNS for one in observed.panels[run, board][title].queries[number]
        )
    ]
    assert [query for query in silent if not any(part in query for part in EMPTY)] == []


def test_every_metric_is_scraped_and_every_metric_of_a_query_exists(observed: Observed) -> None:
    parts = {True: ("_bucket", "_sum", "_count"), False: ("",)}
    defined = {
        f"{PREFIX}{metric.name}{part}"
        for metric in METRICS
        for part in parts[isinstance(metric, HistogramMetric)]
    }
    queried = set(re.findall(rf"{PREFIX}\w+|process_\w+", json.dumps(BOARDS)))
    missing = (defined | queried) - observed.names
    assert {name for name in missing if not any(part in name for part in EMPTY)} == set()


def peak(observed: Observed, run: str, board: str, title: str, legend: str = "") -> float:
    """The highest value of the series whose legend has this text; 0 without a series."""
    return max(
        (
            value
            for one in observed.panels[run, board][title].series
            if legend in one.legend
            for _, value in one.points
        ),
        default=0,
    )


# What a person sees first: run, dashboard, panel, series, and the least peak that shows the fault.
SIGNS = [
    ("hold", "fleet", "Applications on hold", "", 1),
    ("hold", "fleet", "Applications on hold or throttled", "2222 http_403", 2),
    ("hold", "fleet", "Alerts", "ApplicationHeld", 1),
    ("hold", "fleet", "How records end", "parked", 1),
    ("hold", "fleet", "Parked records", "", 1),
    ("hold", "worker", "Requests by answer", "403", 0.1),
    ("outage", "worker", "Breaker", "", 3),
    ("outage", "worker", "Requests by answer", "503", 0.1),
    ("outage", "worker", "Requests sent again", "http_503", 0.1),
    ("outage", "worker", "Partitions not read", "paused", 1),
    ("outage", "fleet", "The API", "", 3),
    ("outage", "fleet", "Lag by topic", "", 400),
    ("outage", "fleet", "Growth of the lag", "", 5),
    ("rebalance", "worker", "Rebalances", "assigned", 1),
]


@pytest.mark.parametrize(("run", "board", "title", "legend", "least"), SIGNS)
def test_a_fault_shows_in_its_run_and_not_in_health(
    observed: Observed, run: str, board: str, title: str, legend: str, least: float
) -> None:
    shown_peak = peak(observed, run, board, title, legend)
    assert shown_peak >= least
    # On a busy machine a healthy run has some lag too.
    assert peak(observed, "healthy", board, title, legend) <= max(shown_peak / 2, 0)


def test_partitions_of_a_killed_worker_go_to_the_others(observed: Observed) -> None:
    shown_partitions = observed.panels["rebalance", "fleet"]["Partitions with a worker"]
    assert len(shown_partitions.series) == 3
    assert all(one.points for one in shown_partitions.series)
