"""The rules of one route: what a record must be, and how its row is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.core.intake.paths import Path
from worker.core.model.batch import RequestForm
from worker.core.post_api.resource import IDENTITY_COLUMNS, RESOURCES, Resource


class UnknownFields(StrEnum):
    """What to do with a field that the resource doesn't have."""

    REJECT = "reject"
    IGNORE = "ignore"


class InvalidOptional(StrEnum):
    """What to do with an invalid value of an optional column."""

    REJECT = "reject"
    DROP = "drop"


class Form(StrEnum):
    """How a record wraps its event.

    JSON: the record is the event. ENVELOPE: `{"type": resource, "data": event}`. CLOUDEVENTS:
    CloudEvents 1.0.
    """

    JSON = "json"
    ENVELOPE = "envelope"
    CLOUDEVENTS = "cloudevents"


class WithoutKey(StrEnum):
    """What to do with a record without a usable key, where a key is configured explicitly."""

    CONTENT = "content"
    NONE = "none"
    REJECT = "reject"


class Framing(StrEnum):
    """The bytes around a value's JSON.

    NONE: no other bytes. CONFLUENT: a magic byte and the schema id. CONNECT: the wrapper of Kafka
    Connect's JSON converter.
    """

    NONE = "none"
    CONFLUENT = "confluent"
    CONNECT = "connect"


@dataclass(frozen=True, slots=True)
class EnvelopeNames:
    """The names in an envelope: of the field with the type, of the field with the event, of types.

    `types` are the resources by the names that records use for them, beside the resources' own.
    """

    type_field: str = "type"
    data_field: str = "data"
    types: Mapping[str, str] = field(default_factory=dict)


class Tombstones(StrEnum):
    """What to do with a record without a value."""

    SKIP = "skip"
    DEAD_LETTER = "dead_letter"


# A value that a selected record has.
Selected = str | int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on records: a header, or a path of the value, must have one of some values.

    Attributes:
        place: the header's name, or the path.
        values: the values.
    """

    place: str | Path
    values: tuple[Selected, ...]


class TimeUnit(StrEnum):
    """How records write the time of an event; AUTO: recognised from the value."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"
    NANOSECONDS = "nanoseconds"
    ISO8601 = "iso8601"
    AUTO = "auto"


class TimeDefault(StrEnum):
    """What to do with a record without a time: dead-letter it, or take the record's own time."""

    REJECT = "reject"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class RecordTime:
    """How the records of a route write the time of an event."""

    unit: TimeUnit = TimeUnit.SECONDS
    default: TimeDefault = TimeDefault.REJECT


class ColumnChoice(StrEnum):
    """Which columns a body has: all of the resource, or exactly those that its rows fill."""

    ALL = "all"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The accepted event times, in Unix seconds, both ends inclusive, and the present time."""

    earliest: int
    latest: int
    now: int


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """The rules of one route.

    `applications` are those with a key: a record of another application can't be delivered.
    `key_header` or `key_fields` name the place of the producer's own event id: a header, or fields
    of the event (names, or paths `$.a.b`) that make one id together. A row's line may have
    `row_bytes_max` bytes.

    `without_key` is None where no key is configured explicitly: then a record needs none.
    `is_content_a_key`: rows without an id are deduplicated by their content, if they have a time.

    `constants` are the texts of columns that have the same value in every row and that no record
    gives. `fields` are the paths of columns whose value isn't under the column's own name.

    All conditions of `select` must hold; a record for which one doesn't is skipped.

    `time` is None where records have Unix seconds, in integers.
    """

    resource: Resource
    applications: frozenset[int]
    unknown_fields: UnknownFields
    key_header: str | None
    key_fields: tuple[str, ...]
    event_age_seconds_max: int
    event_ahead_seconds_max: int
    row_bytes_max: int
    form: Form = Form.JSON
    constants: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Path] = field(default_factory=dict)
    columns: ColumnChoice = ColumnChoice.ALL
    request: RequestForm = RequestForm.BODY
    without_key: WithoutKey | None = None
    is_content_a_key: bool = True
    invalid_optional: InvalidOptional = InvalidOptional.REJECT
    framing: Framing = Framing.NONE
    envelope: EnvelopeNames = field(default_factory=EnvelopeNames)
    select: tuple[Condition, ...] = ()
    tombstones: Tombstones = Tombstones.DEAD_LETTER
    time: RecordTime | None = None

    @property
    def is_dated_by_record(self) -> bool:
        """True if an event without a time of its own gets the time of its record."""
        return self.time is not None and self.time.default is TimeDefault.RECORD

    def has_content_key(self, resource: Resource) -> bool:
        """True if rows of the resource without a producer's key have the key of their content.

        A resource without a time (profiles) may rightly have the same content again.
        """
        return self.is_content_a_key and resource.is_dated

    def window(self, unix_seconds: float) -> TimeWindow:
        """The event times that are accepted at this moment."""
        now = int(unix_seconds)
        return TimeWindow(
            earliest=now - self.event_age_seconds_max,
            latest=now + self.event_ahead_seconds_max,
            now=now,
        )

    def of(self, resource: Resource) -> IntakeRules:
        """The same rules for another resource: an envelope names the resource of each record."""
        names = {column.name for column in (*IDENTITY_COLUMNS.values(), *resource.columns)}
        return replace(
            self,
            resource=resource,
            constants={name: text for name, text in self.constants.items() if name in names},
            fields={name: path for name, path in self.fields.items() if name in names},
        )

    def resources(self) -> tuple[Resource, ...]:
        """The resources that a record of the route may have."""
        return tuple(RESOURCES.values()) if self.form is Form.ENVELOPE else (self.resource,)
