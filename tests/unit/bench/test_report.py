"""What is shown of the results is generated from results.json."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.goals import GOALS, Bound, Goal, verdict
from bench.plot import Chart, svg
from bench.report import BEGIN, END, PERFORMANCE, fill, shown, sizing_table
from bench.results import DIRECTORY, load
from tests.unit.bench.measured import some_results


@pytest.mark.parametrize("name", ["RESULTS.md", "delay.svg", "outage.svg"])
def test_what_is_committed_is_what_results_json_says(name: str) -> None:
    assert (DIRECTORY / name).read_text(encoding="utf-8") == shown(load(DIRECTORY))[name]


def test_the_page_on_performance_is_in_step_with_the_results() -> None:
    page = PERFORMANCE.read_text(encoding="utf-8")
    assert page == fill(page, load(DIRECTORY))
    assert all(goal.text in page for goal in GOALS)


def test_only_the_generated_part_of_the_page_changes() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    filled = fill(page, some_results())
    assert filled.startswith(f"before\n{BEGIN}\n")
    assert filled.endswith(f"{END}\nafter\n")
    assert "old" not in filled
    assert "One core handles 50,000 rich events per second" in filled


@pytest.mark.parametrize(
    ("bound", "value", "is_compiled", "expected"),
    [
        (Bound.AT_MOST, 5.0, False, "yes"),
        (Bound.AT_MOST, 5.0, True, "**no**"),
        (Bound.AT_MOST, 6.1, False, "**no**"),
        (Bound.AT_LEAST, 6.1, False, "yes"),
        (Bound.AT_LEAST, 5.9, False, "**no**"),
    ],
)
def test_a_goal_is_reached_or_is_not(
    bound: Bound, value: float, is_compiled: bool, expected: str
) -> None:
    goal = Goal("key", "text", bound, 6.0, compiled=4.5)
    assert verdict(goal, {"key": value}, is_compiled=is_compiled) == expected
    assert verdict(goal, {}, is_compiled=is_compiled) == "not measured"


def test_no_two_goals_have_the_same_figure() -> None:
    assert len({goal.key for goal in GOALS}) == len(GOALS)


def test_larger_rates_need_more_replicas_and_partitions() -> None:
    lines = sizing_table({"worker_us_rich": 20.0}).splitlines()
    rows = [[int(cell.replace(",", "")) for cell in line.split("|")[1:4]] for line in lines[4:]]
    assert rows == [
        [1_000, 2, 6],
        [10_000, 2, 6],
        [50_000, 2, 6],
        [100_000, 4, 12],
        [250_000, 9, 27],
    ]


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(0.0, 10.0), (50.0, 75_000.0)]])
def test_a_chart_is_a_document_whatever_it_shows(points: list[tuple[float, float]]) -> None:
    tree = ElementTree.fromstring(svg(Chart("a <title>", "x & y", "z", points)))
    lines = tree.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines[0].attrib["points"].split()) == len(points)
