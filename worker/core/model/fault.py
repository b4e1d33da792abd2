"""The reasons for which a record can't be delivered, and the list of a record's faults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.model.record import Assignment, Record


class Reason(StrEnum):
    """The stable reason codes of faults.

    They are the same in metrics, dead-letter headers, the command line and the documentation.
    """

    EMPTY_VALUE = "empty_value"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING = "missing"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_FIELD = "unknown_field"
    BOTH_IDENTITIES = "both_identities"
    MILLISECONDS = "milliseconds"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    TOO_LARGE = "too_large"
    UNKNOWN_APPLICATION = "unknown_application"
    UNKNOWN_ROUTE = "unknown_route"
    REFUSED = "refused"
    TOO_LARGE_FOR_API = "too_large_for_api"
    FAILS_ALONE = "fails_alone"


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One fault of a record.

    `field` is the name as the record spells it, empty for a fault of the whole record.

    `expected` and `found` are the two parts of the message, where it has them; `found` is
    shortened, in one line, and ASCII.
    """

    reason: Reason
    field: str
    message: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that can't be delivered, with every reason, on its way to the dead-letter topic.

    `http_status` is the status of the answer that refused it, None if it was never sent.
    `size_bytes` is the memory that it takes.
    """

    assignment: Assignment
    record: Record
    faults: tuple[FieldFault, ...]
    size_bytes: int
    http_status: int | None = None

    def __post_init__(self) -> None:
        if not self.faults:
            raise ValueError("a rejection needs at least one fault")

    @property
    def reason(self) -> Reason:
        """The reason of the first fault, under which the record is counted."""
        return self.faults[0].reason
