"""The accepted requests of each application, and when they started.

A row is only blamed for a failure while others of its application are accepted. So each request's
start and end gets a number (a *moment*: a later one is higher), and an acceptance is recorded by
the moment at which its request **started**: a request that started after a failure was known, and
was accepted, proves that the API worked after that failure. An answer that merely arrives later
proves nothing: the API may have processed that request before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.model.batch import Batch

NEVER = 0
# A lane: a resource of an application. The API may be slow for it alone, and its rows may have an
# order. The settings bound the number of lanes, but not of destinations.
Lane = tuple[str, int]


def lane_of(batch: Batch) -> Lane:
    """The lane of this batch."""
    return batch.destination.resource, batch.destination.application_id


@dataclass(frozen=True, slots=True)
class RequestMoments:
    """One request from its start to its end, in moments.

    `accepted_before`: at its start, the moment at which the latest accepted request of its
    application had started.
    """

    started: int
    ended: int
    accepted_before: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests of an application were accepted, and how many failed, since the start."""

    accepted: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Application:
    newest_accepted: int = NEVER
    last_acceptance: int = NEVER
    accepted: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Start:
    moment: int
    accepted_before: int


@dataclass(slots=True)
class RequestHistory:
    """The moments of every request, and how each application's requests ended."""

    _moment: int = NEVER
    _starts: dict[str, _Start] = field(default_factory=dict)
    _applications: dict[int, _Application] = field(default_factory=dict)
    # By lane and magnitude (the number of bits of the row count): the start of the latest accepted
    # request of that magnitude.
    _newest_of_size: dict[Lane, dict[int, int]] = field(default_factory=dict)

    def start(self, batch: Batch) -> None:
        """The request of this batch starts."""
        self._moment += 1
        self._starts[batch.id] = _Start(
            self._moment, self.newest_accepted(batch.destination.application_id)
        )

    def end(self, batch_id: str) -> RequestMoments:
        """The request of this batch ended, with whatever result.

        Raises:
            KeyError: it was not started.
        """
        self._moment += 1
        start = self._starts.pop(batch_id)
        return RequestMoments(start.moment, self._moment, start.accepted_before)

    def accept(self, batch: Batch, request: RequestMoments) -> None:
        """That request was answered 200."""
        application = self._application(batch.destination.application_id)
        application.newest_accepted = max(application.newest_accepted, request.started)
        application.last_acceptance = max(application.last_acceptance, request.ended)
        application.accepted += 1
        sizes = self._newest_of_size.setdefault(lane_of(batch), {})
        magnitude = len(batch.rows).bit_length()
        sizes[magnitude] = max(sizes.get(magnitude, NEVER), request.started)

    def fail(self, application_id: int) -> None:
        """A request of this application failed, and its batch isn't known to be the cause."""
        self._application(application_id).failed += 1

    def newest_accepted(self, application_id: int) -> int:
        """The moment at which this application's latest accepted request had started; or NEVER."""
        application = self._applications.get(application_id)
        return application.newest_accepted if application is not None else NEVER

    def last_acceptance(self, application_id: int) -> int:
        """The moment of this application's last 200, whenever its request had started; or NEVER."""
        application = self._applications.get(application_id)
        return application.last_acceptance if application is not None else NEVER

    def has_accepted_as_many(self, batch: Batch, since: int) -> bool:
        """True if a request of (about) as many rows or more was accepted in the batch's lane.

        Only requests that started at or after `since` count.
        """
        magnitude = len(batch.rows).bit_length()
        sizes = self._newest_of_size.get(lane_of(batch), {})
        return any(newest >= since for bits, newest in sizes.items() if bits >= magnitude)

    def tally(self, application_id: int) -> Tally:
        """The results of this application's requests up to now."""
        application = self._applications.get(application_id)
        return (
            Tally(application.accepted, application.failed) if application is not None else Tally()
        )

    def _application(self, application_id: int) -> _Application:
        return self._applications.setdefault(application_id, _Application())
