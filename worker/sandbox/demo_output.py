"""Output of the demo: its progress, as a bar or as plain lines, and the account at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker.sandbox.reconciliation import Reconciliation

PLAIN_LINE_SECONDS = 2.0


class Display:
    """Shows the steps of the demo and the number of delivered rows. A context manager."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._last_line_seconds = 0.0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("delivered", total=total, note="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a step."""
        self._console.print(text, highlight=False)

    def advance(self, count: int, note: str) -> None:
        """Show the number of delivered rows."""
        self._progress.update(self._task, completed=count, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line_seconds >= PLAIN_LINE_SECONDS:
            self._last_line_seconds = now
            self._console.print(
                f"  delivered {count:,} of about {self._total:,}  {note}", highlight=False
            )


def show_account(
    console: Console, reconciliation: Reconciliation, summary: Mapping[str, object], rate: str
) -> None:
    """Print the account of every record, the summary of the ledger, and the rate of delivery."""
    table = Table(
        "",
        "records",
        title="The account, from the emulator's ledger and the dead-letter topic",
        title_justify="left",
    )
    table.add_row("produced", f"{reconciliation.produced:,}")
    table.add_row("delivered", f"{reconciliation.delivered:,}")
    table.add_row("delivered twice", f"{reconciliation.delivered_twice:,}")
    table.add_row("duplicates dropped", f"{reconciliation.duplicates_dropped:,}")
    table.add_row("skipped", f"{reconciliation.skipped:,}")
    for reason, count in sorted(reconciliation.dead_lettered.items()):
        table.add_row(f"dead-lettered: {reason}", f"{count:,}")
    console.print(table)
    console.print(
        f"delivered by resource: {summary['rows_by_resource']}", highlight=False, soft_wrap=True
    )
    console.print(
        f"requests: {summary['requests_total']}, by answer: {summary['requests_by_answer']}",
        highlight=False,
    )
    console.print(rate, highlight=False)
    style = "bold green" if not reconciliation.faults else "bold red"
    console.print(reconciliation.equation, style=style, highlight=False, soft_wrap=True)
    for fault in reconciliation.faults:
        console.print(f"  wrong: {fault}", style="red", highlight=False)
