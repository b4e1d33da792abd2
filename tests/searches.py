"""How long tests search: `make quick` draws a quarter of the examples of `make test`.

A profile is a share of the examples that a property test states with `examples`, and of what other
tests try one by one: `share` of a number, `some_of` a list. Property tests that state no number
draw Hypothesis's own 100, or 25.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

WHOLE = 100

T = TypeVar("T")
# All that UTF-8 can hold. The default alphabet of `st.text` is the same set, which Hypothesis finds
# by encoding a million characters, once per process of a first run.
CHARACTERS = st.characters(exclude_categories=["Cs"])


def register_profiles() -> None:
    """Register `full`, which holds where no other is named, and `quick` of `make quick`."""
    # A test is no measurement: on a busy machine any example may be slow.
    settings.register_profile(
        "full", max_examples=WHOLE, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile("quick", settings.get_profile("full"), max_examples=WHOLE // 4)
    settings.load_profile("full")


def examples(count: int, *, suppress: Collection[HealthCheck] = ()) -> settings:
    """The profile's share of `count` examples, without health checks that don't fit the test."""
    return settings(
        max_examples=share(count),
        suppress_health_check=[*settings().suppress_health_check, *suppress],
    )


def share(count: int) -> int:
    """The profile's share of this number, for a test that draws by itself."""
    return count * settings().max_examples // WHOLE


def some_of(values: Sequence[T]) -> Sequence[T]:
    """The profile's share of these values: all, or every fourth from the first on."""
    return values[:: WHOLE // settings().max_examples]
