"""How an assignment stands towards us, and so what may still be done for its rows."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from worker.model.record import Assignment


class Standing(Enum):
    """OURS: everything. DRAINING: what can be sent at once is sent, nothing waits. GONE: nothing may be sent or committed."""

    OURS = auto()
    DRAINING = auto()
    GONE = auto()


StandingOf = Callable[[Assignment], Standing]
