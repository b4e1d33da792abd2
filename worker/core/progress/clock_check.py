"""Whether the local clock may judge the age of events. A record dead-lettered as too old can't be
taken back.

Witnesses, in this order:

    the API's `Date`      says what time it is where the age limit is held. Between two answers the
    monotonic clock goes on from
                          the last: so a clock that jumps is noticed at the next event, before
                          anything is judged by it
    the local clock       has to agree with it within `difference_seconds_max`
    records' timestamps   only before the API has answered: time is at least what the newest record
    says

| known                                                                     | trust     | the worker
|
| ------------------------------------------------------------------------- | --------- |
---------------------------------- |
| the API's time, and the local clock agrees                                | VOUCHED   | judges
ages                        |
| the API's time, and the local clock doesn't agree                         | DOUBTED   | receives
nothing, judges no age    |
| no time of the API yet, the newest record is ahead of the local clock     | DOUBTED   | the same
|
| no time of the API yet                                                    | UNVOUCHED | lets wait
what an age decides     |
| so many answers of the API without a date                                 | VOUCHED   | judges
ages: nobody says otherwise |

A date that agrees with the local clock is believed at once. One that doesn't may be a proxy's or a
cache's: it is believed when a second answer says the same. While the clock isn't vouched for, and
it matters, the API is asked for its time.
"""

from __future__ import annotations

from worker.core.model.answer import Answer, Response
from worker.core.model.clock import ClockStatus, Now, Trust
from worker.core.model.command import AskTime, Log, Severity

# Two answers that say the same: what lies between a date's making and its arrival, and a clock's
# drift.
SAME_SECONDS = 300.0
# An API that never sends a date can't vouch; a single answer without may be a proxy's.
DATELESS_ANSWERS_MAX = 3
ASK_SECONDS = 5.0


class ClockCheck:
    """Compares the local clock with what its witnesses say.

    Args:
        difference_seconds_max: how far the local clock may be from the API's. 0: it is trusted
            whatever anybody says.
    """

    def __init__(self, difference_seconds_max: float) -> None:
        self._difference_max = difference_seconds_max
        # Both are Unix times minus the monotonic time at which they were told: what changes them is
        # a clock that jumps.
        self._api: float | None = None
        self._rival: float | None = None
        self._newest_record: float | None = None
        self._dateless_answers = 0
        self._last_trust = Trust.VOUCHED
        self._is_asking = False
        self._is_wanted = False
        self._ask_at: float | None = None

    def trust(self, now: Now) -> Trust:
        """What the local clock is worth at this moment."""
        if self._difference_max == 0:
            return Trust.VOUCHED
        difference = self._difference(now)
        if difference is not None:
            return Trust.DOUBTED if abs(difference) > self._difference_max else Trust.VOUCHED
        if self._dateless_answers >= DATELESS_ANSWERS_MAX:
            return Trust.VOUCHED
        ahead = (
            self._newest_record + now.monotonic_seconds - now.unix_seconds
            if self._newest_record is not None
            else 0.0
        )
        return Trust.DOUBTED if ahead > self._difference_max else Trust.UNVOUCHED

    def best_guess(self, now: Now) -> Now:
        """This moment by the best witness there is: for what is judged once and needn't
        be right.
        """
        return (
            now
            if self._api is None
            else Now(now.monotonic_seconds, self._api + now.monotonic_seconds)
        )

    def note_answer(self, answer: Answer, now: Now) -> None:
        """The API has answered, or something before it."""
        if not isinstance(answer, Response) or self._difference_max == 0:
            return
        if answer.date_unix_seconds is None:
            self._dateless_answers += 1
            return
        told = answer.date_unix_seconds - now.monotonic_seconds
        agrees = abs(now.unix_seconds - answer.date_unix_seconds) <= self._difference_max
        if agrees or (self._rival is not None and abs(told - self._rival) <= SAME_SECONDS):
            self._api, self._rival = told, None
        else:
            self._rival = told

    def note_api_time(self, answer: Answer, now: Now) -> None:
        """What `AskTime` has come to."""
        self._is_asking = False
        self.note_answer(answer, now)

    def note_record(self, timestamp_milliseconds: int, now: Now) -> None:
        """A record was received that was written at this time."""
        if self._api is None:
            told = timestamp_milliseconds / 1000 - now.monotonic_seconds
            self._newest_record = (
                told if self._newest_record is None else max(self._newest_record, told)
            )

    def want(self) -> None:
        """Something waits for the clock to be vouched for: until it is, the API is asked for its
        time.
        """
        self._is_wanted = True

    def look(self, now: Now, *, is_waiting: bool) -> list[Log | AskTime]:
        """What has changed since the last look, and whether the API is to be asked.

        Args:
            now: the moment.
            is_waiting: something waits for the clock to be vouched for.
        """
        trust = self.trust(now)
        commands: list[Log | AskTime] = self._changes(trust, now)
        self._last_trust = trust
        self._is_wanted &= trust is Trust.UNVOUCHED
        needs_time = (
            trust is Trust.DOUBTED or is_waiting or self._is_wanted or self._rival is not None
        )
        if not needs_time:
            self._ask_at = None
        elif not self._is_asking and (
            self._ask_at is None or now.monotonic_seconds >= self._ask_at
        ):
            self._is_asking = True
            self._ask_at = now.monotonic_seconds + ASK_SECONDS
            commands.append(AskTime())
        return commands

    def next_deadline(self) -> float | None:
        """When the API is to be asked again, in monotonic seconds; None while it needn't be, or
        hasn't answered yet.
        """
        return None if self._is_asking else self._ask_at

    def status(self, now: Now) -> ClockStatus:
        """For operators."""
        return ClockStatus(self.trust(now), self._difference(now))

    def _difference(self, now: Now) -> float | None:
        """How far the local clock is ahead of the API's; None while the API hasn't told
        its time.
        """
        return None if self._api is None else now.unix_seconds - (self._api + now.monotonic_seconds)

    def _changes(self, trust: Trust, now: Now) -> list[Log | AskTime]:
        if trust is self._last_trust:
            return []
        difference = self._difference(now)
        fields: dict[str, str | int | float] = {
            "witness": "records" if difference is None else "api"
        }
        if difference is not None:
            fields["seconds_ahead"] = round(difference, 1)
        if trust is Trust.DOUBTED:
            return [Log(Severity.ERROR, "clock_doubted", fields)]
        if trust is Trust.UNVOUCHED:
            return []
        if difference is None:
            return [Log(Severity.WARNING, "clock_has_no_witness", {})]
        return [Log(Severity.INFO, "clock_vouched", fields)]
