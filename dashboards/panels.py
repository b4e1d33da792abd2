"""The parts of a dashboard, without Grafana: panels, their queries and thresholds.

A query names metrics without their prefix. `Query.promql` adds the prefix and the variables of the
dashboard: `rate(commits_total[5m])` becomes
`rate(appmetrica_worker_commits_total{namespace=~"$namespace",…}[5m])`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from worker.edges.telemetry.metrics.collector import METRICS
from worker.edges.telemetry.metrics.definition import PREFIX

SELECTOR = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
# Replaced by the chart's `monitoring.runbookUrl`.
RUNBOOK = "docs/runbook.md"
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"

_NAMES = "|".join(sorted((metric.name for metric in METRICS), key=len, reverse=True))
# A metric with the labels behind it. The metrics of the process come from the Prometheus client.
_METRIC = re.compile(
    rf"(?<![\w$\"])(?:({_NAMES})(_bucket|_sum|_count)?|((?:process|python)_\w+))(?!\w)"
    r"(?:\{([^}]*)\})?"
)


class Kind(Enum):
    """How a panel shows its values."""

    NUMBER = auto()  # the last value, large, coloured by the thresholds
    LINES = auto()
    STACK = auto()  # areas on top of each other
    STATES = auto()  # a bar per series, coloured by the state


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the legend of its series."""

    expression: str
    legend: str

    @property
    def promql(self) -> str:
        """The query as Grafana sends it, with variables of the dashboard."""
        return _METRIC.sub(_selected, self.expression)

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics of the worker in this query, without the prefix."""
        return frozenset(name for name, *_ in _METRIC.findall(self.expression) if name)


def _selected(match: re.Match[str]) -> str:
    name, suffix, foreign, labels = match.groups()
    full = foreign or f"{PREFIX}{name}{suffix or ''}"
    return f"{full}{{{','.join(part for part in (labels, SELECTOR) if part)}}}"


@dataclass(frozen=True, slots=True)
class Threshold:
    """The colour of values from this value on."""

    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class State:
    """The text and the colour of a value of a `STATES` or `NUMBER` panel."""

    value: int
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title: unique within the dashboard.
        description: what it shows, and what to do when it looks wrong.
        queries: at least one.
        unit: of Grafana, such as `s` or `bytes`.
        kind: how the values are shown.
        width: of the 24 columns.
        colour: of values below the first threshold.
        thresholds: in ascending order.
        states: texts for single values.
        runbook: a section of the runbook, as its anchor.
        minimum, maximum: the ends of the axis; None: by the values.
        empty: the text without a value.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = Kind.LINES
    width: int = 8
    colour: str = GREEN
    thresholds: tuple[Threshold, ...] = ()
    states: tuple[State, ...] = ()
    runbook: str = ""
    minimum: float | None = 0
    maximum: float | None = None
    empty: str = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable with a fixed list of values; the first value is the default."""

    name: str
    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard.

    Attributes:
        name: of its file; its address in Grafana is `appmetrica-worker-` and this name.
        title: as people see it.
        description: whom it is for.
        choices: the variables that no other dashboard has.
        rows: from top to bottom.
    """

    name: str
    title: str
    description: str
    choices: tuple[Choice, ...]
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        """The panels of all rows."""
        return [panel for row in self.rows for panel in row.panels]


number = partial(Panel, kind=Kind.NUMBER)
stack = partial(Panel, kind=Kind.STACK)
states = partial(Panel, kind=Kind.STATES)


def below(red: float, orange: float) -> tuple[Threshold, ...]:
    """Thresholds of a value that is bad when it is low; use them with the colour `RED`."""
    return (Threshold(red, ORANGE), Threshold(orange, GREEN))


def above(orange: float, red: float) -> tuple[Threshold, ...]:
    """Thresholds of a value that is bad when it is high."""
    return (Threshold(orange, ORANGE), Threshold(red, RED))


def quantiles(histogram: str, *shares: float) -> tuple[Query, ...]:
    """The quantiles of a histogram without labels."""
    return tuple(
        Query(
            f"histogram_quantile({share}, "
            f"sum by (le) (rate({histogram}_bucket[$__rate_interval])))",
            f"p{share * 100:g}",
        )
        for share in shares
    )


def rate(metric: str, legend: str, by: str = "") -> Query:
    """The rate of a counter, over all chosen workers."""
    grouped = f"sum by ({by})" if by else "sum"
    return Query(f"{grouped} (rate({metric}[$__rate_interval]))", legend)


def grouped(function: str, expression: str, *labels: str, text: str = "") -> Query:
    """The values by these labels, aggregated by the function.

    The legend has the text and the labels' values.
    """
    by = ", ".join(labels)
    return Query(f"{function} by ({by}) ({expression})", _legend(text, *labels))


def above_zero(query: Query) -> Query:
    """The query without the series whose value is 0."""
    return Query(f"{query.expression} > 0", query.legend)


def _legend(text: str, *labels: str) -> str:
    return " ".join((*filter(None, (text,)), *(f"{{{{{label}}}}}" for label in labels)))


# The state of each worker's breaker, as a number. Exactly one of the four has the value 1.
_BREAKER = (
    'max by (instance) (3 * (breaker_state{state="open"} == 1) '
    'or 2 * (breaker_state{state="probing"} == 1) '
    'or (breaker_state{state="ramping"} == 1) '
    'or 0 * (breaker_state{state="closed"} == 1))'
)
_BREAKER_STATES = (
    State(0, "closed", GREEN),
    State(1, "ramping", BLUE),
    State(2, "probing", ORANGE),
    State(3, "open", RED),
)


def breaker(title: str, description: str) -> Panel:
    """The state of each worker's breaker."""
    return states(
        title,
        description,
        (Query(_BREAKER, _legend("", "instance")),),
        states=_BREAKER_STATES,
        runbook="not-delivering",
    )


def holds(title: str, description: str, *further: str) -> Panel:
    """The applications on hold or throttled, by their reasons and these further labels."""
    by = ", ".join((*further, "application_id", "reason"))
    legend = _legend("", "application_id", "reason", *further)
    return states(
        title,
        description,
        (
            Query(f"max by ({by}) (2 * application_held)", legend),
            Query(f"max by ({by}) (application_throttled)", legend),
        ),
        states=(State(1, "throttled", ORANGE), State(2, "on hold", RED)),
        runbook="application-held",
        empty="none",
    )
