"""The fast pass: from an event's JSON to its row, and what both forms of the pass share.

One form is generated in Python (`generated_pass`), the other is compiled (`compiled_pass`);
`pass_choice` says which form runs. What a fast pass doesn't accept goes to the thorough pass, which
is its reference: tests and the fuzzer compare all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from worker.core.counters.counters import ContractDrift
from worker.core.intake.decode import Decode
from worker.core.intake.dedup_key import UnusableKey
from worker.core.intake.fields import Check
from worker.core.intake.forms import Unwrapped
from worker.core.intake.layout import Layout
from worker.core.intake.rules import ColumnChoice, IntakeRules, TimeWindow
from worker.core.model.batch import RequestForm
from worker.core.model.clock import Now
from worker.core.model.fault import FieldFault, Reason
from worker.core.model.record import Assignment, Record
from worker.core.model.row import Destination, Row
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity


@dataclass(frozen=True, slots=True)
class ChunkReading:
    """What all records of a chunk have in common.

    `drift` counts what differs from the contract.
    """

    assignment: Assignment
    window: TimeWindow
    now: Now
    drift: ContractDrift


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """All faults of a record; never empty."""

    faults: tuple[FieldFault, ...]


class FastPass(Protocol):
    """The row of an event, or the fault of its line; None if anything is wrong or unusual.

    Args:
        reading: what all records of the chunk have in common.
        record: the record.
        value: the event's JSON in it.
        unwrapped: what the wrapping of the event gives, if it is wrapped.
        decode: another decoder than the strict decoder.
    """

    def __call__(
        self,
        reading: ChunkReading,
        record: Record,
        value: bytes | msgspec.Raw,
        unwrapped: Unwrapped | None = None,
        decode: Decode = ...,
    ) -> Row | InvalidEvent | None:
        """Read an event."""


# A row without its key: destination, line, and the event's time in Unix seconds, None without one.
KeylessRow = tuple[Destination, bytes, int | None]
# The producer's key of an event, or why there is none; None where the route reads no key from it.
ProducerKey = str | UnusableKey | None

# The values of the identity columns come first.
PAIR = len(IDENTITY_COLUMNS)
# The text of an application's id, and the destinations of its rows by profile and by device.
ApplicationRows = tuple[str, Destination, Destination]
RefuseLine = Callable[[bytes], InvalidEvent]
FinishRow = Callable[
    [ChunkReading, Record, KeylessRow, ProducerKey, Unwrapped | None], Row | InvalidEvent
]


@dataclass(frozen=True, slots=True)
class RowEnds:
    """What a fast pass calls for the end of a row.

    Attributes:
        producer_key: the producer's key in the event's values; None where the route reads no key
            from these.
        refuse: the rejection of a line that is too large.
        finish: adds the key to the row of an event that has, or needs, another key than that of
            its content.
    """

    producer_key: Callable[[Sequence[Any]], str | UnusableKey] | None
    refuse: RefuseLine
    finish: FinishRow


def applications(rules: IntakeRules) -> dict[int | str, ApplicationRows]:
    """Map each application's id to its text and to the destinations of its rows.

    The keys are its number and its text: so one lookup finds out that the id is well-formed and
    that the application has a key. Other spellings ("01111") are left to the thorough pass.
    """
    resource = rules.resource.name
    return {
        spelling: (
            str(application_id),
            Destination(resource, application_id, Identity.PROFILE_ID),
            Destination(resource, application_id, Identity.DEVICE_ID),
        )
        for application_id in rules.applications
        for spelling in (application_id, str(application_id))
    }


def repeated_constants(layout: Layout) -> Iterator[tuple[int, Column]]:
    """The constants that a record may repeat with the same value, and the indexes of the values."""
    yield from enumerate(layout.constants, len(layout.paths) - len(layout.constants))


def check_of_constant(column: Column, text: str) -> Check:
    """A check that accepts the spellings of a constant that the fast pass knows."""
    same = frozenset({text, int(text)} if column.kind is Kind.INTEGER else {text})
    other = FieldFault(Reason.OUT_OF_RANGE, column.name, f"expected {text}", text)

    def check(_column: Column, value: object, _window: TimeWindow) -> str | FieldFault:
        return text if isinstance(value, int | str) and value in same else other

    return check


def is_plain_csv(rules: IntakeRules) -> bool:
    """True if a line is CSV of all columns."""
    return rules.request is RequestForm.BODY and rules.columns is ColumnChoice.ALL


def has_content_keys(rules: IntakeRules, ends: RowEnds) -> bool:
    """True if a row has the key of its content, unless its record's headers say otherwise."""
    is_keyless = ends.producer_key is None and rules.without_key is None
    return is_keyless and rules.has_content_key(rules.resource)
