"""The screen of the command `top`: a line per worker, what is wrong, and a worker's details."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.core.counters.situation import duration_text
from worker.edges.telemetry.redaction import printable
from worker.tools.top import WorkerAnswer, members, number, objects, text

# Rows of a worker's table. `/status` has them all.
ROWS_MAX = 8
ERRORS_MAX = 3
CELL_CHARACTERS_MAX = 200
STYLES = {"critical": "bold red", "warning": "yellow", "notice": "cyan", "ok": "green"}
MEBIBYTE = 1024 * 1024


def screen(answers: Sequence[WorkerAnswer], moment: datetime) -> RenderableType:
    """Return the whole picture: a line per worker, what is wrong, and one worker's details."""
    parts: list[RenderableType] = [_summary(answers, moment), _workers(answers)]
    parts += _problems(answers)
    if len(answers) == 1 and answers[0].status is not None:
        parts += _details(answers[0].status)
    return Group(*parts)


def _summary(answers: Sequence[WorkerAnswer], moment: datetime) -> Text:
    found = [answer.status for answer in answers if answer.status is not None]
    silent = len(answers) - len(found)
    lags = [number(status, "lag_records") for status in found]
    received = sum(number(status, "flow", "received") or 0.0 for status in found)
    delivered = sum(number(status, "flow", "delivered") or 0.0 for status in found)
    lag = "unknown" if None in lags else f"{sum(one or 0 for one in lags):,.0f}"
    line = Text(f"{moment:%H:%M:%S}  {len(answers)} worker{'s' * (len(answers) != 1)}")
    if silent:
        line.append(f", {silent} without an answer", "bold red")
    return line.append(f"  lag {lag}  in {_rate(received)}  delivered {_rate(delivered)}\n")


def _workers(answers: Sequence[WorkerAnswer]) -> Table:
    table = Table(box=None, pad_edge=False, expand=False)
    for name in ("worker", "state", "lag", "in", "out", "mem", "req"):
        table.add_column(
            name,
            justify="left" if name in ("worker", "state") else "right",
            no_wrap=name not in ("worker", "state"),
            overflow="fold" if name == "worker" else "ellipsis",
            max_width={"worker": 30, "state": 20}.get(name),
        )
    for answer in answers:
        if answer.status is None:
            table.add_row(_cell(answer.address), Text("no answer", "bold red"))
            continue
        status, headline = answer.status, _headline(answer.status)
        state = text(headline, "state").replace("_", " ") or "unknown"
        table.add_row(
            _cell(text(status, "host") or answer.address),
            _cell(state, STYLES.get(text(headline, "urgency"), "")),
            _count(number(status, "lag_records")),
            _rate(number(status, "flow", "received")),
            _rate(number(status, "flow", "delivered")),
            _memory(status),
            f"{_count(number(status, 'destination', 'requests_in_flight'))}/"
            f"{_count(number(status, 'destination', 'requests_in_flight_limit'))}",
        )
    return table


def _headline(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(objects(status, "situations")), {})


def _problems(answers: Sequence[WorkerAnswer]) -> Iterator[RenderableType]:
    """Show the situations in words: all of a single worker, of many only problems."""
    for answer in answers:
        name = answer.address if answer.status is None else text(answer.status, "host")
        prefix = f"{name or answer.address}: " if len(answers) > 1 else ""
        if answer.status is None:
            yield Text("\n").append(_cell(f"{prefix or name + ': '}{answer.error}", "bold red"))
            continue
        for place, situation in enumerate(objects(answer.status, "situations")):
            urgency = text(situation, "urgency")
            if urgency == "ok" and len(answers) > 1:
                continue
            since = number(situation, "since_unix_seconds")
            now = number(answer.status, "time_unix_seconds")
            lasted = "" if since is None or now is None else f" (for {duration_text(now - since)})"
            title = f"{prefix}{text(situation, 'title')}{lasted}"
            yield Text("\n").append(_cell(title, STYLES.get(urgency, "")))
            # Of several workers, the explanation of the worst has to fit on the screen.
            if place and len(answers) > 1:
                continue
            yield Padding(_cell(text(situation, "consequence")), (0, 0, 0, 2))
            if text(situation, "action"):
                yield Padding(_cell(f"What to do: {text(situation, 'action')}"), (0, 0, 0, 2))


def _details(status: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Describe one worker: what it holds, its applications in trouble, partitions, errors."""
    held = members(status, "records_held")
    stages = "  ".join(f"{name.replace('_', ' ')} {_count(number(held, name))}" for name in held)
    yield Text("\n").append(_cell(f"in memory  {stages}"))
    yield from _outlook(status)
    yield from _table(
        ("application", "state", "reason", "rows"),
        [
            (_id(one), text(one, "state"), text(one, "reason"), _count(number(one, "rows")))
            for one in objects(status, "applications")
            if text(one, "state") != "delivering" or text(one, "key") != "usable"
        ],
    )
    partitions = objects(status, "partitions")
    partitions.sort(key=lambda one: -(number(one, "lag_records") or 0))
    yield from _table(
        ("partition", "lag", "span", "state"),
        [
            (
                f"{text(one, 'topic')}-{_id(one, 'partition')}",
                _count(number(one, "lag_records")),
                _count(number(one, "span_records")),
                _state(one),
            )
            for one in partitions
        ],
    )
    yield from _table(
        ("dead letters", "records", "command"),
        [
            (reason, _count(count), f"appmetrica-worker dlq peek --reason {reason}")
            for reason, count in _dead_letters(status).most_common()
        ],
    )
    for error in objects(status, "last_errors")[-ERRORS_MAX:]:
        words = (text(error, "ts")[11:19], text(error, "event"), text(error, "detail"))
        yield _cell(" ".join(filter(None, (*words, text(error, "action")))), "yellow")


def _outlook(status: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Say when the lag is gone and when the oldest event is lost, as far as it is known."""
    left = number(status, "forecast", "oldest_event_seconds_left")
    drain = number(status, "forecast", "lag_drain_seconds")
    outlook = [
        "" if drain is None else f"lag gone in {duration_text(drain)}",
        "" if left is None else f"oldest event too old in {duration_text(left)}",
    ]
    if any(outlook):
        yield Text("forecast   " + ", ".join(filter(None, outlook)))


def _dead_letters(status: Mapping[str, Any]) -> Counter[str]:
    """Return the dead letters of all topics by reason."""
    counts: Counter[str] = Counter()
    for topic in members(status, "topics").values():
        reasons = members(topic, "dead_lettered") if isinstance(topic, dict) else {}
        counts.update({reason: int(number(reasons, reason) or 0) for reason in reasons})
    return counts


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[RenderableType]:
    """Return the table with its first rows, and the number of the others."""
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for name in names:
        is_number = name in ("lag", "span", "rows", "records")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows[:ROWS_MAX]:
        table.add_row(*(_cell(one) for one in row))
    yield Text("")
    yield table
    if len(rows) > ROWS_MAX:
        yield Text(f"and {len(rows) - ROWS_MAX:,} more", "dim")


def _state(partition: Mapping[str, Any]) -> str:
    if partition.get("is_draining") is True:
        return "draining"
    return "paused" if partition.get("is_paused") is True else "reading"


def _id(document: Mapping[str, Any], name: str = "application_id") -> str:
    # As it is: a float would change large identifiers.
    return str(document.get(name, "?"))


def _cell(value: str, style: str = "") -> Text:
    """Return foreign text: without control characters, markup and excess length."""
    shown = printable(value[:CELL_CHARACTERS_MAX])
    return Text(shown + ("…" if len(value) > CELL_CHARACTERS_MAX else ""), style)


def _count(value: float | None) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:,.1f}/s" if 0 < value < 10 else f"{value:,.0f}/s"


def _memory(status: Mapping[str, Any]) -> str:
    held, limit = number(status, "held_bytes"), number(status, "held_bytes_max")
    return "?" if held is None or not limit else f"{held / limit:.0%}"
