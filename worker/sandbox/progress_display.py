"""Shows how far the demo is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

PLAIN_LINE_SECONDS = 2.0


class Display:
    """Steps and one count that grows. A context manager."""

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
        """A step has been taken."""
        self._console.print(text, highlight=False)

    def advance(self, count: int, note: str) -> None:
        """So many of the total are done."""
        self._progress.update(self._task, completed=count, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line_seconds >= PLAIN_LINE_SECONDS:
            self._last_line_seconds = now
            self._console.print(
                f"  delivered {count:,} of about {self._total:,}  {note}", highlight=False
            )
