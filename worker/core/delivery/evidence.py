"""What the API has taken of each application, and when: the difference between a bad row and a bad
hour.

A row is only ever blamed for a failure while others of its application are taken. So each request's
start and end gets a number (a *moment*: a later one is higher), and an acceptance is known by the
moment at which its request **started**: a request that started after a failure was known, and was
taken, shows that the API worked after that failure. An answer that merely comes later shows
nothing: the API may have judged it before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.model.batch import Batch

NEVER = 0
# A resource and an application: what may be slow on its own. Bounded by the settings, where
# destinations needn't be.
Lane = tuple[str, int]


def lane_of(batch: Batch) -> Lane:
    """The lane that this batch goes by."""
    return batch.destination.resource, batch.destination.application_id


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request from its start to its end, in moments.

    `accepted_before`: at its start, the moment at which the youngest accepted request of its
    application had started.
    """

    started: int
    ended: int
    accepted_before: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests of an application were accepted, and how many failed, since the process
    started.
    """

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
class Evidence:
    """The moments of every request, and what each application's requests came to."""

    _moment: int = NEVER
    _starts: dict[str, _Start] = field(default_factory=dict)
    _applications: dict[int, _Application] = field(default_factory=dict)
    # By lane and magnitude (bits of the row count): when the youngest accepted request of so many
    # rows had started.
    _youngest_of_size: dict[Lane, dict[int, int]] = field(default_factory=dict)

    def start(self, batch: Batch) -> None:
        """The request of this batch starts."""
        self._moment += 1
        self._starts[batch.id] = _Start(
            self._moment, self.newest_accepted(batch.destination.application_id)
        )

    def end(self, batch_id: str) -> Attempt:
        """Its request has ended, one way or another.

        Raises:
            KeyError: it was not started.
        """
        self._moment += 1
        start = self._starts.pop(batch_id)
        return Attempt(start.moment, self._moment, start.accepted_before)

    def accept(self, batch: Batch, attempt: Attempt) -> None:
        """That request was answered 200."""
        application = self._application(batch.destination.application_id)
        application.newest_accepted = max(application.newest_accepted, attempt.started)
        application.last_acceptance = max(application.last_acceptance, attempt.ended)
        application.accepted += 1
        sizes = self._youngest_of_size.setdefault(lane_of(batch), {})
        magnitude = len(batch.rows).bit_length()
        sizes[magnitude] = max(sizes.get(magnitude, NEVER), attempt.started)

    def fail(self, application_id: int) -> None:
        """A request of this application failed, and its batch isn't known to be the cause."""
        self._application(application_id).failed += 1

    def newest_accepted(self, application_id: int) -> int:
        """The moment at which the youngest accepted request of this application had started;
        `NEVER` if none was.
        """
        application = self._applications.get(application_id)
        return application.newest_accepted if application is not None else NEVER

    def last_acceptance(self, application_id: int) -> int:
        """The moment at which this application was last answered 200, whenever that request had
        started.
        """
        application = self._applications.get(application_id)
        return application.last_acceptance if application is not None else NEVER

    def has_accepted_as_many(self, batch: Batch, since: int) -> bool:
        """True if a request of the batch's lane with (about) as many rows or more, started since
        then, was accepted.
        """
        magnitude = len(batch.rows).bit_length()
        sizes = self._youngest_of_size.get(lane_of(batch), {})
        return any(youngest >= since for bits, youngest in sizes.items() if bits >= magnitude)

    def tally(self, application_id: int) -> Tally:
        """How this application's requests have fared up to now."""
        application = self._applications.get(application_id)
        return (
            Tally(application.accepted, application.failed) if application is not None else Tally()
        )

    def _application(self, application_id: int) -> _Application:
        return self._applications.setdefault(application_id, _Application())
