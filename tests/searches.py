"""How long property tests search: `make quick` draws a quarter of the examples of `make test`.

A profile is a share of the examples that each test states with `examples`. Tests that state no
number draw Hypothesis's own 100, or 25.
"""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import HealthCheck, settings

WHOLE = 100


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
    profile = settings()
    return settings(
        max_examples=count * profile.max_examples // WHOLE,
        suppress_health_check=[*profile.suppress_health_check, *suppress],
    )
