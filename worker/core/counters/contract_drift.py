"""What producers do that is worth a look although, or beyond that, a record is accepted or refused
for it.

Values that the documentation doesn't list are delivered and counted. And the contract drifts:
fields that it doesn't know, fields of another type than it says; counted by the kind of event, so
that a producer's release shows before anybody asks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

# Names come from producers: without a bound a broken one would fill the memory, and the metrics of
# everybody.
DRIFTS_MAX = 100
OTHER = "(other)"
UNKNOWN = "unknown"


class Drift(NamedTuple):
    """One way in which records differ from the contract.

    `change` is `unknown` for a field that the resource doesn't have, else the JSON type found
    instead of the right one.
    """

    event_name: str
    field: str
    change: str


@dataclass(slots=True)
class ContractDrift:
    """The remarks on one topic's records.

    `unusual_values` counts by column, `drifts` by what differs.
    """

    unusual_values: Counter[str] = field(default_factory=Counter)
    drifts: Counter[Drift] = field(default_factory=Counter)

    def drift(self, event_name: str, field_name: str, change: str, count: int = 1) -> None:
        """Note one field of one record, or so many.

        Beyond `DRIFTS_MAX` different ones, new ones are counted together.
        """
        drift = Drift(event_name, field_name, change)
        if drift not in self.drifts and len(self.drifts) >= DRIFTS_MAX:
            drift = Drift(OTHER, OTHER, change)
        self.drifts[drift] += count
