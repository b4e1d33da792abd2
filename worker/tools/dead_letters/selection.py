"""Selects stored records: by reason, application, time, and number of earlier replays."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from worker.tools.dead_letters.record import StoredRecord

# Length of the selection's digest in the name of a consumer group.
DIGEST_BYTES = 5


class Selection(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Conditions on stored records; an empty condition accepts every record.

    Times are Unix milliseconds of when the stored record was written: `since` is inclusive, `until`
    is not. `replays_max` excludes records that were replayed this often. `without_origins` excludes
    records of these source topics: a replay that can't write to them replays only the others, and
    its position covers only the others.
    """

    reasons: tuple[str, ...] = ()
    applications: tuple[int, ...] = ()
    since: int | None = None
    until: int | None = None
    replays_max: int | None = None
    without_origins: tuple[str, ...] = ()

    def matches(self, stored: StoredRecord) -> bool:
        """True if this record meets every condition."""
        return self.matches_content(stored) and not self.has_too_many_replays(stored)

    def matches_content(self, stored: StoredRecord) -> bool:
        """True if this record meets every condition, `replays_max` aside."""
        if self.reasons and stored.reason not in self.reasons:
            return False
        if self.applications and stored.application_id not in self.applications:
            return False
        if stored.origin is not None and stored.origin.topic in self.without_origins:
            return False
        timestamp = stored.record.timestamp
        return (self.since is None or timestamp >= self.since) and (
            self.until is None or timestamp < self.until
        )

    def has_too_many_replays(self, stored: StoredRecord) -> bool:
        """True if this record was replayed `replays_max` times already."""
        return self.replays_max is not None and stored.replays >= self.replays_max

    def text(self) -> str:
        """The canonical text of this selection, kept as the metadata of a replay's commit."""
        ordered = msgspec.structs.replace(
            self,
            reasons=tuple(sorted(set(self.reasons))),
            applications=tuple(sorted(set(self.applications))),
        )
        return msgspec.json.encode(ordered).decode()

    def digest(self) -> str:
        """A short name that is the same for equal selections."""
        return blake2b(self.text().encode(), digest_size=DIGEST_BYTES).hexdigest()


_decoder = msgspec.json.Decoder(Selection)


def parse(text: str) -> Selection | None:
    """The selection that this text describes; None for any other text."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return None
