"""An invariant that doesn't hold."""

from __future__ import annotations


class ViolationError(AssertionError):
    """An invariant that doesn't hold: `name` identifies it, the text has the facts."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name
