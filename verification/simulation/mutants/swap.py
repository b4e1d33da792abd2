"""A mutant is a function that swaps attributes of the worker during one history."""

from __future__ import annotations

from collections.abc import Callable

Swap = Callable[[object, str, object], None]
Mutant = Callable[[Swap], None]
