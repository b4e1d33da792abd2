"""Draws panels as pictures, roughly as Grafana shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.e2e.grafana_queries import STEP_SECONDS, Series, Shown

COLUMNS = 24
INCHES_PER_COLUMN, INCHES_PER_LINE = 0.75, 0.36
COLOURS = {"green": "#4a9c3f", "orange": "#f2a33a", "red": "#d44a3a", "blue": "#4a7fd4"}
_UNITS = {"percentunit": 100.0}


Time = tuple[float, float]


def draw(path: Path, title: str, panels: Mapping[str, Shown], time: Time) -> None:
    """Draw all panels of a dashboard at their places, for the time from and to."""
    places = [one.panel["gridPos"] for one in panels.values()]
    lines = max(place["y"] + place["h"] for place in places)
    figure = Figure((COLUMNS * INCHES_PER_COLUMN, lines * INCHES_PER_LINE), layout=None)
    figure.suptitle(title, fontsize=14, y=0.999)
    for one in panels.values():
        place = one.panel["gridPos"]
        bottom = lines - place["y"] - place["h"]
        axes = figure.add_axes(
            (
                (place["x"] + 0.9) / COLUMNS,
                (bottom + 0.7) / lines,
                (place["w"] - 1.3) / COLUMNS,
                (place["h"] - 1.7) / lines,
            )
        )
        _panel(axes, one, time)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)


def _panel(axes: Axes, one: Shown, time: Time) -> None:
    axes.set_title(one.title, fontsize=8, loc="left")
    axes.tick_params(labelsize=6)
    if not any(series.points for series in one.series):
        axes.text(0.5, 0.5, _defaults(one).get("noValue", "-"), ha="center", fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    match one.panel["type"]:
        case "stat":
            _number(axes, one)
        case "state-timeline":
            _states(axes, one)
            _time_axis(axes, time)
        case _:
            _lines(axes, one)
            _time_axis(axes, time)


def _defaults(one: Shown) -> dict[str, Any]:
    defaults: dict[str, Any] = one.panel["fieldConfig"]["defaults"]
    return defaults


def _number(axes: Axes, one: Shown) -> None:
    values = [(series.legend, series.points[-1][1]) for series in one.series if series.points]
    axes.set_facecolor(_colour(one, values[0][1]))
    percent = _defaults(one).get("unit") == "percentunit"
    text = "  ".join(
        f"{name} {value:.2%}" if percent else f"{name} {value:,.4g}" for name, value in values
    )
    axes.text(0.5, 0.4, text, ha="center", fontsize=13, color="white")
    axes.set_xticks([])
    axes.set_yticks([])


def _colour(one: Shown, value: float) -> str:
    steps = _defaults(one)["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]]


def _states(axes: Axes, one: Shown) -> None:
    states = _defaults(one)["mappings"][0]["options"]
    names = []
    for number, series in enumerate(series for series in one.series if series.points):
        names.append(series.legend)
        for value, spans in _spans(series).items():
            colour = COLOURS[states[str(value)]["color"]]
            axes.broken_barh(spans, (number - 0.4, 0.8), color=colour)
    axes.set_yticks(range(len(names)), ["\n".join(name.split(" ", 1)) for name in names])
    axes.set_ylim(-0.6, max(2, len(names)) - 0.4)


def _spans(series: Series) -> dict[int, list[tuple[float, float]]]:
    """The start and the length of each uninterrupted time, by state."""
    spans: dict[int, list[tuple[float, float]]] = {}
    last_at, last_state = 0.0, -1
    for at, value in series.points:
        state = int(value)
        if state == last_state and at - last_at < 2 * STEP_SECONDS:
            start, length = spans[state][-1]
            spans[state][-1] = (start, length + STEP_SECONDS)
        else:
            spans.setdefault(state, []).append((at, STEP_SECONDS))
        last_at, last_state = at, state
    return spans


def _lines(axes: Axes, one: Shown) -> None:
    shown = [series for series in one.series if series.points]
    factor = _UNITS.get(str(_defaults(one).get("unit")), 1.0)
    custom = _defaults(one).get("custom", {})
    if custom.get("stacking", {}).get("mode") == "normal":
        times = sorted({at for series in shown for at, _ in series.points})
        layers = [[dict(series.points).get(at, 0.0) for at in times] for series in shown]
        axes.stackplot(times, layers, labels=[series.legend for series in shown], alpha=0.7)
    else:
        for series in shown:
            times = [at for at, _ in series.points]
            scaled = [value * factor for _, value in series.points]
            axes.plot(times, scaled, label=series.legend, linewidth=1.2)
        if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
            for step in _defaults(one)["thresholds"]["steps"]:
                if step["value"] is not None:
                    colour = COLOURS[step["color"]]
                    axes.axhline(step["value"] * factor, color=colour, ls="--", lw=0.8)
    if _defaults(one).get("min") == 0:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=5, loc="upper left", framealpha=0.5)


def _time_axis(axes: Axes, time: Time) -> None:
    start, end = time
    ticks = [start + seconds for seconds in range(0, int(end - start) + 1, 15)]
    axes.set_xticks(ticks, [f"{tick - start:.0f} s" for tick in ticks])
    axes.set_xlim(start, end)
