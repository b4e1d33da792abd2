"""Results are kept, and a later run replaces what it has measured."""

from __future__ import annotations

from pathlib import Path

from bench.results import Results, load, save
from tests.unit.bench.measured import some_results


def test_a_figure_is_the_median_with_its_range() -> None:
    assert str(some_results().figures["to_floor_rich"]) == "6 (5–7)"
    assert str(some_results().figures["worker_us_rich"]) == "20"


def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    save(some_results(), tmp_path)
    assert load(tmp_path) == some_results()
    assert load(tmp_path / "nowhere") == Results()


def test_a_later_run_keeps_the_figures_that_it_does_not_measure() -> None:
    found = some_results()
    found.take({"to_floor_rich": [4.0]})
    assert found.values["to_floor_rich"] == 4.0
    assert found.values["worker_us_rich"] == 20.0


def test_the_instructions_of_the_intake_are_a_figure() -> None:
    assert some_results().values["instructions_rich"] == 30_000
