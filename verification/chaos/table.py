"""The table of results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from verification.chaos.checker import Verdict, merged


def print_table(console: Console, title: str, verdicts: Sequence[Verdict]) -> None:
    """Print one line per kind of fault, the sum, and the violations."""
    table = Table(title=title, title_justify="left")
    table.add_column("fault")
    for column in (
        "count",
        "produced",
        "delivered",
        "repeats dropped",
        "skipped",
        "dead-lettered",
        "duplicates / bound",
        "lost",
        "lag 0 after",
    ):
        table.add_column(column, justify="right")
    lines = merged(verdicts)
    for line in lines:
        _add(table, line)
    if len(lines) > 1:
        table.add_section()
        _add(table, merged([replace(one, name="all") for one in lines])[0])
    console.print(table)
    for line in lines:
        for violation in line.violations:
            console.print(f"VIOLATED  {line.name}: {violation}", style="bold red", highlight=False)


def _add(table: Table, line: Verdict) -> None:
    lag = f"{line.lag_seconds:.1f} s" if line.lag_seconds is not None else "never"
    kept = (line.repeats, line.skipped, line.dead_lettered)
    counts = (line.count, line.produced, line.delivered, *kept)
    cells = (
        line.name,
        *(f"{count:,}" for count in counts),
        f"{line.duplicates:,} / {line.bound:,}",
        f"{line.lost:,}",
        lag,
    )
    table.add_row(*cells, style="red" if line.violations else None)
