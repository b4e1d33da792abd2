"""How an assignment stands towards us, and so what may still be done for its rows."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from worker.core.model.record import Assignment


class Standing(Enum):
    """OURS: everything. DRAINING: what waits is given back. ENDING: only answers are awaited. GONE: nothing may be done."""

    OURS = auto()
    DRAINING = auto()
    ENDING = auto()
    GONE = auto()


StandingOf = Callable[[Assignment], Standing]
