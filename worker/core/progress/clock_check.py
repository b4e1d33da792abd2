"""Checks whether the local clock may decide that an event is too old or in the future.

A wrong decision would make a dead letter, which can't be taken back. So the clock is compared with
its *witnesses*, in this order:

- The API's `Date`, because the API applies the age limit by its own clock. Between two answers the
  monotonic clock continues from the last answer, so a jump of the local clock is noticed at the
  next event, before any age is checked.
- The local clock has to agree with it within `difference_seconds_max`.
- Records' timestamps, only before the API has answered: it can't be earlier than the newest
  record's timestamp.

| known                                              | trust     | the worker                      |
| -------------------------------------------------- | --------- | ------------------------------- |
| the API's time, and the local clock agrees         | VOUCHED   | checks ages                     |
| the API's time, and the local clock doesn't agree  | DOUBTED   | receives nothing, checks no age |
| no time of the API, a record is ahead of the clock | DOUBTED   | receives nothing, checks no age |
| no time of the API                                 | UNVOUCHED | lets events wait for their age  |
| no time in DATELESS_ANSWERS_MAX answers of the API | VOUCHED   | checks ages                     |

A date that agrees with the local clock is believed at once. Another date may be a proxy's or a
cache's: it is believed after a second answer with the same time. While the clock isn't vouched for
and a record or a row waits for it, the API is asked for its time.
"""

from __future__ import annotations

from worker.core.model.answer import Answer, Response
from worker.core.model.clock import ClockStatus, Now, Trust
from worker.core.model.command import AskTime, Severity, WriteLog

# How far two answers with the same time may differ: by the time from a date's creation to its
# arrival, and by a clock's drift.
SAME_SECONDS = 300.0
# An API that never sends a date can't be a witness; one answer without a date may be a proxy's.
DATELESS_ANSWERS_MAX = 3
ASK_SECONDS = 5.0
# A date has whole seconds, and its answer took some time: a smaller difference is normal.
DATE_SECONDS = 2.0


class ClockCheck:
    """Compares the local clock with its witnesses.

    Args:
        difference_seconds_max: how far the local clock may be from the API's. 0: it is always
            trusted.
    """

    def __init__(self, difference_seconds_max: float) -> None:
        self._difference_max = difference_seconds_max
        # Both are Unix times minus the monotonic time of their arrival.
        self._api: float | None = None
        self._rival: float | None = None
        self._newest_record: float | None = None
        self._dateless_answers = 0
        self._last_trust = Trust.VOUCHED
        self._is_asking = False
        self._is_wanted = False
        self._ask_at: float | None = None

    def trust(self, now: Now) -> Trust:
        """Return whether the local clock is vouched for, unvouched or doubted at this moment."""
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
        """Return this moment by the best witness, for uses that needn't be exact."""
        difference = self._difference(now)
        if difference is None or abs(difference) <= DATE_SECONDS:
            return now
        return Now(now.monotonic_seconds, now.unix_seconds - difference)

    def note_answer(self, answer: Answer, now: Now) -> None:
        """Take in an answer of the API, or of a proxy before it."""
        if not isinstance(answer, Response) or self._difference_max == 0:
            return
        if answer.date_unix_seconds is None:
            self._dateless_answers += 1
            return
        offset = answer.date_unix_seconds - now.monotonic_seconds
        agrees = abs(now.unix_seconds - answer.date_unix_seconds) <= self._difference_max
        if agrees or (self._rival is not None and abs(offset - self._rival) <= SAME_SECONDS):
            self._api, self._rival = offset, None
        else:
            self._rival = offset

    def note_api_time(self, answer: Answer, now: Now) -> None:
        """Take in the result of `AskTime`."""
        self._is_asking = False
        self.note_answer(answer, now)

    def note_record(self, timestamp_milliseconds: int, now: Now) -> None:
        """Take in the timestamp of a received record."""
        if self._api is None:
            offset = timestamp_milliseconds / 1000 - now.monotonic_seconds
            self._newest_record = (
                offset if self._newest_record is None else max(self._newest_record, offset)
            )

    def want(self) -> None:
        """Ask the API for its time until the clock is vouched for, because a row waits for that."""
        self._is_wanted = True

    def look(self, now: Now, *, is_waiting: bool) -> list[WriteLog | AskTime]:
        """Return log lines for a change of the trust, and `AskTime` if the API is to be asked.

        Args:
            now: the moment.
            is_waiting: chunks wait for the clock to be vouched for.
        """
        trust = self.trust(now)
        commands: list[WriteLog | AskTime] = self._changes(trust, now)
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
        """Return when the API is to be asked again, in monotonic seconds.

        None while it needn't be asked, or hasn't answered yet.
        """
        return None if self._is_asking else self._ask_at

    def status(self, now: Now) -> ClockStatus:
        """Return the clock's status for operators."""
        return ClockStatus(self.trust(now), self._difference(now))

    def _difference(self, now: Now) -> float | None:
        """Return how far the local clock is ahead of the API's; None before its first date."""
        return None if self._api is None else now.unix_seconds - (self._api + now.monotonic_seconds)

    def _changes(self, trust: Trust, now: Now) -> list[WriteLog | AskTime]:
        if trust is self._last_trust:
            return []
        difference = self._difference(now)
        fields: dict[str, str | int | float] = {
            "witness": "records" if difference is None else "api"
        }
        if difference is not None:
            fields["seconds_ahead"] = round(difference, 1)
        if trust is Trust.DOUBTED:
            return [WriteLog(Severity.ERROR, "clock_doubted", fields)]
        if trust is Trust.UNVOUCHED:
            return []
        if difference is None:
            return [WriteLog(Severity.WARNING, "clock_has_no_witness", {})]
        return [WriteLog(Severity.INFO, "clock_vouched", fields)]
