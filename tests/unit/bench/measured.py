"""Results as a run would leave them."""

from __future__ import annotations

from bench.results import Results
from bench.stages import STAGES, Cost

ABOUT = {
    name: name
    for name in (
        "command date commit build cores machine processor python libraries peers events "
        "load_before load_after"
    ).split()
}


def some_results() -> Results:
    found = Results(dict(ABOUT))
    found.take({"to_floor_rich": [5.0, 7.0, 6.0], "worker_us_rich": [20.0], "floor_us_rich": [4.0]})
    found.take_stages("rich", {stage.name: Cost(1.5, 30_000.0) for stage in STAGES})
    found.series["delay"] = [[0.0, 50_000.0], [50.0, 45_000.0]]
    return found
