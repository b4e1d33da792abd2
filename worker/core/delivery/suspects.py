"""Suspects: batches that fail while others of their application are accepted.

Probably a row in them makes the API fail, and halving finds that row:

    failed twice, and another was accepted in between     halved: the good half goes on
    a piece of it fails, and another was accepted         halved again: one request for each half
    no answer in time, and as large ones were accepted    halved at once: each time-out is long, and
                                                          costs duplicates
    a single row fails, and another was accepted that     a *lone failure*
    started after the row's last failure
    enough lone failures                                  the row is given up: it fails alone

A batch is halved after any acceptance since its first attempt, because halving costs only a
request. To give up a row costs the row, so it takes several lone failures. While no request of the
application is accepted, no lone failure is counted: so an outage or a wrong key never makes the
worker give up a row, however long it lasts.

How many lone failures are enough depends on how many of the application's other requests fail
meanwhile, so that no good row is given up by chance: where a share `f` of them fails, a good row
fails `n` consecutive times with the probability f^n.

    given up when   n >= 5  and  f^n <= 10^-9,   f = (failed + 1) / (failed + accepted + 2)

So 5 are enough where hundreds of requests are accepted, 9 where one is accepted between any two
failures, 19 where a third of all requests fails. `failed` leaves out the failures of rows that have
5 lone failures, and a batch's further failures while nothing is accepted: otherwise several bad
rows would keep each other from being given up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from worker.core.delivery.request_history import RequestHistory, RequestMoments, Tally
from worker.core.model.batch import Batch

LONE_FAILURES_MIN = 5
# One connection may be lost for any reason. If the same batch loses two, a proxy may not accept the
# size of its body.
CUT_OFFS_TO_SPLIT = 2
CHANCE_MAX = 1e-9
# After this many consecutive failures of an application without an accepted request, the cause
# isn't a row.
CONSECUTIVE_FAILURES_MAX = 5


class Failure(Enum):
    """The part of a batch in its failed attempt.

    NEUTRAL: none, the fault came before the rows were processed, or the API requests a wait.
    FAILED: a row may be the cause. TIMED_OUT, CUT_OFF (while it was sent): its size may be, too.
    """

    NEUTRAL = auto()
    FAILED = auto()
    CUT_OFF = auto()
    TIMED_OUT = auto()


class Decision(Enum):
    """The next step for a batch that failed.

    RETRY: it is sent again. RETRY_SMALLER: the same, and its lane is too slow for this many rows.
    SPLIT: two halves are sent instead. HALVE: they are sent now, as suspects. GIVE_UP: its only row
    is not sent any more.
    """

    RETRY = auto()
    SPLIT = auto()
    RETRY_SMALLER = auto()
    HALVE = auto()
    GIVE_UP = auto()


@dataclass(frozen=True, slots=True)
class Assessment:
    """A decision. `counts_against_others`: the failure counts as one of the application."""

    decision: Decision
    counts_against_others: bool = False


@dataclass(slots=True)
class _Case:
    """The failures of one batch.

    `failures` is the number of consecutive failures; it determines the waits. The first failed
    request started at `began_at` (a moment), the last ended at `failed_at`. `tally` has the results
    of the application's requests up to the first failure; `counted` is how many of the failures
    since then are this batch's own. `is_alone`: the batch failed again, and no request was accepted
    in between.
    """

    failures: int = 0
    lone_failures: int = 0
    began_at: int | None = None
    failed_at: int | None = None
    is_suspect: bool = False
    is_alone: bool = False
    tally: Tally | None = None
    counted: int = 0


class Suspects:
    """The failures of every batch that failed since it was last accepted, refused or split."""

    def __init__(self) -> None:
        self._cases: dict[str, _Case] = {}
        self._consecutive_failures: dict[int, int] = {}

    def is_suspect(self, batch_id: str) -> bool:
        """True if this batch, or the one it is a piece of, failed while others were accepted."""
        case = self._cases.get(batch_id)
        return case is not None and case.is_suspect

    def failures(self, batch_id: str) -> int:
        """The number of consecutive failures of this batch."""
        case = self._cases.get(batch_id)
        return case.failures if case is not None else 0

    def lone_failures(self, batch_id: str) -> int:
        """How often this batch has failed while others were accepted."""
        case = self._cases.get(batch_id)
        return case.lone_failures if case is not None else 0

    def is_alone(self, batch_id: str) -> bool:
        """True if this batch failed again with nothing accepted in between."""
        case = self._cases.get(batch_id)
        return case is not None and case.is_alone

    def is_general(self, application_id: int) -> bool:
        """True if the application failed too often since its last acceptance to be one batch."""
        return self._consecutive_failures.get(application_id, 0) >= CONSECUTIVE_FAILURES_MAX

    def accept(self, batch: Batch) -> None:
        """This batch was accepted: its failures are forgotten."""
        self._cases.pop(batch.id, None)
        self._consecutive_failures.pop(batch.destination.application_id, None)

    def forget(self, batch_id: str) -> None:
        """This batch came to another end, or was refused."""
        self._cases.pop(batch_id, None)

    def replace(self, batch_id: str, *successors: Batch) -> None:
        """Pass this batch's case on to its successors, without its lone failures."""
        case = self._cases.pop(batch_id, None)
        if case is not None:
            for successor in successors:
                self._cases[successor.id] = _Case(
                    case.failures,
                    began_at=case.began_at,
                    failed_at=case.failed_at,
                    is_suspect=case.is_suspect,
                )

    def halve(self, batch_id: str, *pieces: Batch) -> None:
        """Replace this suspect by these pieces, which are sent at once as suspects."""
        case = self._cases.pop(batch_id)
        for piece in pieces:
            self._cases[piece.id] = _Case(
                began_at=case.failed_at, failed_at=case.failed_at, is_suspect=True
            )

    def fail(
        self, batch: Batch, failure: Failure, request: RequestMoments, history: RequestHistory
    ) -> Assessment:
        """This batch failed; decide on its next step by what was accepted meanwhile."""
        case = self._cases.setdefault(batch.id, _Case())
        case.failures += 1
        if failure is Failure.NEUTRAL:
            return Assessment(Decision.RETRY)
        application_id = batch.destination.application_id
        since, case.failed_at = case.failed_at, request.ended
        if case.began_at is None:
            case.began_at = request.started
        if case.tally is None:
            case.tally = history.tally(application_id)
        is_slow = failure is Failure.TIMED_OUT and not history.has_accepted_as_many(
            batch, since or request.started
        )
        is_lone = since is not None and history.newest_accepted(application_id) > since
        # A row that gets no answer in time is compared with rows of its own resource alone.
        case.is_alone = since is not None and (
            is_slow or history.last_acceptance(application_id) <= since
        )
        case.lone_failures += is_lone
        if not case.is_suspect:
            consecutive = self._consecutive_failures.get(application_id, 0)
            self._consecutive_failures[application_id] = consecutive + 1
        # A failure that this very batch is likely to cause says nothing about the others.
        is_counted = (since is None or is_lone) and case.lone_failures < LONE_FAILURES_MIN
        if is_slow:
            decision = Decision.RETRY_SMALLER
        elif len(batch.rows) > 1:
            may_be_halved = case.is_suspect or since is not None
            is_halved = may_be_halved and history.last_acceptance(application_id) > case.began_at
            decision = Decision.HALVE if is_halved else _of_several_rows(case, failure)
        else:
            case.is_suspect |= is_lone
            is_enough = is_lone and _is_enough(case, history.tally(application_id))
            decision = Decision.GIVE_UP if is_enough else Decision.RETRY
        case.counted += is_counted
        return Assessment(decision, is_counted)


def _of_several_rows(case: _Case, failure: Failure) -> Decision:
    """The next step for several rows that have not failed while others were accepted."""
    if failure is Failure.TIMED_OUT:
        return Decision.HALVE
    is_too_large = failure is Failure.CUT_OFF and case.failures >= CUT_OFFS_TO_SPLIT
    return Decision.SPLIT if is_too_large else Decision.RETRY


def _is_enough(case: _Case, now: Tally) -> bool:
    """True if the row's lone failures can't be chance: see the formula of the module."""
    if case.lone_failures < LONE_FAILURES_MIN or case.tally is None:
        return False
    accepted = now.accepted - case.tally.accepted
    failed = now.failed - case.tally.failed - case.counted
    share = (failed + 1) / (failed + accepted + 2)
    return case.lone_failures * math.log10(share) <= math.log10(CHANCE_MAX)
