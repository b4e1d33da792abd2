"""Line charts as SVG, without a library: a few hundred points, two axes, a title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 90, 20, 50, 60
TICKS = 5


@dataclass(frozen=True, slots=True)
class Chart:
    """A line through points, each an x and a y; both axes begin at 0."""

    title: str
    x_label: str
    y_label: str
    points: Sequence[tuple[float, float]]


def svg(chart: Chart) -> str:
    """The chart as an SVG document that can be read on a light and on a dark page."""
    x_step = _step(max([x for x, _ in chart.points], default=0.0))
    y_step = _step(max([y for _, y in chart.points], default=0.0))
    x_max = _end([x for x, _ in chart.points], x_step)
    y_max = _end([y for _, y in chart.points], y_step)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / x_max * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 28, chart.title, "middle", size=16),
        _text(WIDTH / 2, HEIGHT - 14, chart.x_label, "middle"),
        _text(LEFT, TOP - 8, chart.y_label, "start"),
    ]
    for number in range(round(y_max / y_step) + 1):
        _, y = place(0, number * y_step)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, f"{number * y_step:,g}", "end"))
    for number in range(round(x_max / x_step) + 1):
        x, y = place(number * x_step, 0)
        parts.append(_text(x, y + 20, f"{number * x_step:,g}", "middle"))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in chart.points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>')
    if len(chart.points) <= 20:
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f6feb"/>'
            for x, y in (place(*point) for point in chart.points)
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _step(largest: float) -> float:
    """A distance of ticks that people count in: 1, 2 or 5, times a power of ten."""
    if largest <= 0:
        return 1.0
    rough = largest / TICKS
    power = 10.0 ** floor(log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _end(values: Sequence[float], step: float) -> float:
    return max(step, ceil(max(values, default=0.0) / step) * step)


def _text(x: float, y: float, text: str, anchor: str, size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#333333">{escape(text)}</text>'
    )
