"""What a check raises when an invariant doesn't hold.

A name begins with the number of the invariant in docs/ARCHITECTURE.md, if it has a number there.
"""

from __future__ import annotations

from collections.abc import Sequence


class ViolationError(AssertionError):
    """An invariant that doesn't hold: `name` identifies it, the text has the facts."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def demand_none(name: str, what: str, found: Sequence[str]) -> None:
    """Raise if anything was found; the text has the number, and the first few."""
    if found:
        raise ViolationError(name, f"{len(found)} {what}: {found[:5]}")
