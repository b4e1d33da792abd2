"""The order in which rows of profiles have to arrive, and the order in which they did."""

from __future__ import annotations

from collections.abc import Mapping

from verification.simulation.violation import ViolationError
from worker.core.model.record import Assignment


class ProfileOrder:
    """Owns the place of each record among its profile's records, and the places loaded so far.

    A sender is an assignment of a worker: its successor begins anew from what was committed.
    """

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}
        self._loaded: dict[tuple[str, Assignment, str], list[int]] = {}

    def publish(self, event: str, profile: str, place: int) -> None:
        """Note the place of this event among the records of its profile."""
        self._places[event] = (profile, place)

    def load(self, event: str, worker: str, assignment: Assignment) -> None:
        """Check that the API loads no row after a newer row of its profile, except again."""
        profile, place = self._places[event]
        loaded = self._loaded.setdefault((worker, assignment, profile), [])
        if loaded and place < max(loaded) and place not in loaded:
            raise ViolationError(
                "order",
                f"{worker}, {assignment}: {event} of {profile} comes after its newer {loaded[-3:]}",
            )
        loaded.append(place)

    def check_last_values(self, accepted: Mapping[str, int]) -> None:
        """Check that each profile ends with its newest accepted value, if nothing was repeated.

        The senders of a partition follow each other.
        """
        newest: dict[str, int] = {}
        for event, (profile, place) in self._places.items():
            if accepted[event]:
                newest[profile] = max(newest.get(profile, 0), place)
        last = {profile: loaded[-1] for (_, _, profile), loaded in self._loaded.items()}
        wrong = [profile for profile, place in newest.items() if last[profile] != place]
        if wrong:
            raise ViolationError("order", f"{wrong[0]} ends with an old value")
