"""Which letters are meant: by reason, application, time, and how often they were sent
back already.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from worker.tools.dead_letters.record import FOREIGN, StoredRecord

# What names a selection in the name of a group.
DIGEST_BYTES = 5


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Empty means all. Times in Unix milliseconds of when the letter was written, `since`
    inclusive, `until` not.

    `replays_max`: a letter that was sent back as often is not meant. `without_origins`: nor is one
    that came from these topics: a replay that can't write to them has sent the others alone, and
    its position says nothing of theirs.
    """

    reasons: tuple[str, ...] = ()
    applications: tuple[int, ...] = ()
    since: int | None = None
    until: int | None = None
    replays_max: int | None = None
    without_origins: tuple[str, ...] = ()

    def matches(self, letter: StoredRecord) -> bool:
        """True if this letter is meant."""
        return self.is_about(letter) and not self.has_too_many_replays(letter)

    def is_about(self, letter: StoredRecord) -> bool:
        """True if this letter is meant, or would be if it had been sent back less often."""
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.applications and letter.application_id not in self.applications:
            return False
        if letter.origin is not None and letter.origin.topic in self.without_origins:
            return False
        timestamp = letter.record.timestamp
        return (self.since is None or timestamp >= self.since) and (
            self.until is None or timestamp < self.until
        )

    def has_too_many_replays(self, letter: StoredRecord) -> bool:
        """True if it has been sent back as often as it may be."""
        return self.replays_max is not None and letter.replays >= self.replays_max

    def text(self) -> str:
        """The same for the same selection: kept beside a position, it says what lies below it."""
        ordered = msgspec.structs.replace(
            self,
            reasons=tuple(sorted(set(self.reasons))),
            applications=tuple(sorted(set(self.applications))),
        )
        return msgspec.json.encode(ordered).decode()

    def digest(self) -> str:
        """A short name."""
        return blake2b(self.text().encode(), digest_size=DIGEST_BYTES).hexdigest()


_decoder = msgspec.json.Decoder(Selection)


def parse(text: str) -> Selection | None:
    """The selection of this text; None where it isn't one."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None


@dataclass(frozen=True, slots=True)
class ReplayedSelection:
    """What an earlier replay has sent back: of one partition, everything below `position` that
    `selection` matches.
    """

    position: int
    selection: Selection

    def has_sent(self, letter: StoredRecord) -> bool:
        """True if that replay has sent this letter back."""
        return (
            letter.place.offset < self.position
            and letter.reason != FOREIGN
            and self.selection.matches(letter)
        )
