"""The page docs/install.md: its values as the chart takes them, and its table of sizes."""

from __future__ import annotations

import json
import re
from math import ceil
from typing import Any

import yaml

from tests.install.chart import container, merged
from tests.install.value_sets import MINIMAL
from tests.install.values import CHART

PAGE = CHART.parent / "docs" / "install.md"
RESULTS = CHART.parent / "bench" / "results.json"

_TABLE = re.compile(r"(<!-- generated: sizing -->\n).*?(<!-- end -->)", re.DOTALL)
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_RATES = (100, 1_000, 10_000, 50_000, 100_000)
_KEYS = (1_000_000, 5_000_000, 20_000_000)
# What a core is planned for, so that a backlog shrinks.
_SHARE_OF_CORE = 0.6


def blocks() -> list[dict[str, Any]]:
    """The values on the page, the first ones whole, the others to be added to them."""
    texts = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [yaml.safe_load(text) for text in texts]


def page_text() -> str:
    """The page with its table made anew."""
    table = f"{_rates()}\n\n{_memory()}\n"
    text = PAGE.read_text(encoding="utf-8")
    return _TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", text)


def _rates() -> str:
    figures = json.loads(RESULTS.read_text(encoding="utf-8"))["figures"]
    microseconds = figures["worker_us_rich"]["value"]
    rows = [
        f"| events per second, at {microseconds:.1f} µs of CPU each | cores | workers |",
        "| --- | --- | --- |",
    ]
    for rate in _RATES:
        cores = rate * microseconds / 1_000_000
        workers = max(2, ceil(cores / _SHARE_OF_CORE))
        rows.append(f"| {rate:,} | {cores:.2f} | {workers} |")
    return "\n".join(rows)


def _memory() -> str:
    rows = [
        "| remembered events (`config.dedup.window_rows_max`) | memory of each worker |",
        "| --- | --- |",
    ]
    for keys in _KEYS:
        values = merged(MINIMAL, {"config": {"dedup": {"window_rows_max": keys}}})
        rows.append(f"| {keys:,} | {container(values)['resources']['limits']['memory']} |")
    return "\n".join(rows)
