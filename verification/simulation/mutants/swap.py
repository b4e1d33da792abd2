"""A mutant is a function that swaps attributes on the worker's classes and modules for the time of
one history.
"""

from __future__ import annotations

from collections.abc import Callable

Swap = Callable[[object, str, object], None]
Mutant = Callable[[Swap], None]
