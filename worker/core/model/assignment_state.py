"""How an assignment stands towards us, and so what may still be done for its rows."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from worker.core.model.record import Assignment


class AssignmentState(Enum):
    """OURS: everything. DRAINING: what waits is given back. ENDING: only answers are awaited. GONE:
    nothing may be done.
    """

    ASSIGNED = auto()
    DRAINING = auto()
    AWAITING_ANSWERS = auto()
    RELEASED = auto()


StateOf = Callable[[Assignment], AssignmentState]
