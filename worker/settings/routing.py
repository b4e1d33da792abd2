"""The settings of routes: batching, deduplication, dead letters and parking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from worker.settings.record_shape import faults_of_selection, faults_of_shape, is_dated
from worker.settings.section import YEAR_SECONDS, Seconds, Section, Topic, agreed, at

KeyField = Annotated[str, Field(min_length=1)]
WindowSeconds = Annotated[float, Field(gt=0, le=YEAR_SECONDS, allow_inf_nan=False)]
ColumnNames = Literal["all", "exact"]
SelectedValues = Annotated[tuple[StrictStr | StrictInt | StrictBool, ...], Field(min_length=1)]
# 13 GB of keys: a larger number is a typing error.
WINDOW_ROWS_LIMIT = 100_000_000


ResourceName = Literal["events", "revenue", "adrevenue", "ecommerce", "profiles"]
WithoutKey = Literal["content", "none", "reject"]
# The settings that name the place of an event's id: at most one of them is set.
KEY_SETTINGS = ("key_header", "key_field", "key_fields")
DEFAULT_KEY_HEADER = "event-id"


def _faults_of_key(section: Section) -> list[str]:
    given = [name for name in KEY_SETTINGS if getattr(section, name)]
    return [f"{' and '.join(given)} exclude each other"] if len(given) > 1 else []


class Batching(Section):
    """When a batch is sealed."""

    rows_max: int = Field(
        default=5000,
        ge=1,
        le=100_000,
        description="Maximum rows per request; the API accepts 100,000",
    )
    body_bytes_max: int = Field(
        default=8_388_608,
        ge=4096,
        le=1_000_000_000,
        description="Maximum bytes of a request body; the API accepts 1 GB",
    )
    linger_seconds: Seconds = Field(
        default=1.0, description="Maximum time that a batch waits for more rows"
    )
    columns: ColumnNames = Field(
        default="all",
        description=(
            "Columns of a request body: all of the resource, or exactly the filled ones; "
            "batches per set of columns"
        ),
    )


class Dedup(Section):
    """How repetitions of an event are recognised."""

    key_header: str | None = Field(
        default=DEFAULT_KEY_HEADER,
        min_length=1,
        description=(
            "Record header that holds the event's id, in any case; a CloudEvent's source and id "
            "are its id without this setting"
        ),
    )
    key_field: str | None = Field(
        default=None, min_length=1, description="Field of the value that holds the event's id"
    )
    key_fields: tuple[KeyField, ...] | None = Field(
        default=None, min_length=1, description="Fields of the value that make one id together"
    )
    without_key: WithoutKey = Field(
        default="content",
        description=(
            "What to do with a record without a usable id, if the place of the id is configured: "
            "deduplicate it by its content, not at all, or dead-letter it"
        ),
    )
    content: bool | None = Field(
        default=None,
        description=(
            "Whether records without an id are deduplicated by their content; null: those that "
            "have a time of their own"
        ),
    )
    window_seconds: WindowSeconds = Field(
        default=86_400, description="How long a delivered event is remembered"
    )
    window_rows_max: int = Field(
        default=1_000_000,
        ge=8,
        le=WINDOW_ROWS_LIMIT,
        description=(
            "Maximum number of remembered delivered events, 128 B each, of all topics together"
        ),
    )

    rebuild_records_max: int = Field(
        default=50_000,
        ge=0,
        le=10_000_000,
        description=(
            "Records of a newly assigned partition that are read again to rebuild the "
            "window; 0: none"
        ),
    )
    rebuild_seconds_max: Seconds = Field(
        default=10,
        description=(
            "Maximum time to rebuild the window; duplicates of records that were not "
            "read again may be delivered"
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _replace_default(cls, given: object) -> object:
        """A key in the value replaces the default header."""
        if isinstance(given, dict) and (given.get("key_field") or given.get("key_fields")):
            return {"key_header": None} | given
        return given

    @model_validator(mode="after")
    def _agree(self) -> Dedup:
        return agreed(self, _faults_of_key(self))


class DeadLetter(Section):
    """The topic of records that can't be delivered."""

    topic: Topic = "offline-events.dlq"


class Parking(Section):
    """The parking of records of applications on hold, so that they don't stop others."""

    enabled: bool = Field(
        default=True,
        description=(
            "Whether records of held applications are parked. If false, a hold may stop "
            "its partitions"
        ),
    )
    topic: Topic | None = Field(
        default=None, description="Parking topic; null: the route's topic with the suffix .parked"
    )


class BatchingOverride(Section):
    """The route's own values of `batching`. Null: the common value."""

    rows_max: int | None = Field(
        default=None, ge=1, le=100_000, description="Overrides batching.rows_max"
    )
    body_bytes_max: int | None = Field(
        default=None, ge=4096, le=1_000_000_000, description="Overrides batching.body_bytes_max"
    )
    linger_seconds: Seconds | None = Field(
        default=None, description="Overrides batching.linger_seconds"
    )
    columns: ColumnNames | None = Field(default=None, description="Overrides batching.columns")


class DedupOverride(Section):
    """The route's own values of `dedup`. Null: the common value."""

    key_header: str | None = Field(
        default=None, min_length=1, description="Overrides dedup.key_header"
    )
    key_field: str | None = Field(
        default=None, min_length=1, description="Overrides dedup.key_field"
    )
    key_fields: tuple[KeyField, ...] | None = Field(
        default=None, min_length=1, description="Overrides dedup.key_fields"
    )
    without_key: WithoutKey | None = Field(default=None, description="Overrides dedup.without_key")
    content: bool | None = Field(default=None, description="Overrides dedup.content")
    window_seconds: WindowSeconds | None = Field(
        default=None, description="Overrides dedup.window_seconds"
    )
    window_rows_max: int | None = Field(
        default=None,
        ge=8,
        le=WINDOW_ROWS_LIMIT,
        description=(
            "Maximum part of dedup.window_rows_max that this topic may use; null: no "
            "limit of its own"
        ),
    )

    @model_validator(mode="after")
    def _agree(self) -> DedupOverride:
        return agreed(self, _faults_of_key(self))


class DeadLetterOverride(Section):
    """The route's own values of `dead_letter`."""

    topic: Topic


class RouteDelivery(Section):
    """How the route's batches are sent."""

    ordered: bool | None = Field(
        default=None,
        description=(
            "Whether rows are sent in the topic's order, one request at a time per application "
            "and resource; null: only rows of profiles"
        ),
    )


class ParkingOverride(Section):
    """The route's own values of `parking`. Null: the common value.

    An ordered route doesn't park unless its own value says so.
    """

    enabled: bool | None = Field(
        default=None,
        description="Overrides parking.enabled; null: disabled if the route is ordered",
    )
    topic: Topic | None = Field(default=None, description="Overrides parking.topic")


class Envelope(Section):
    """The names in an envelope."""

    type_field: str = Field(
        default="type", min_length=1, description="Field that names the resource of the event"
    )
    data_field: str = Field(
        default="data",
        min_length=1,
        description="Field that holds the event: an object, or text that holds an object",
    )
    types: Mapping[Annotated[str, Field(min_length=1)], ResourceName] = Field(
        default={},
        description=(
            "Resources by the types of the records, as in {purchase: revenue}; the resources' own "
            "names are types too"
        ),
    )

    @model_validator(mode="after")
    def _agree(self) -> Envelope:
        is_one = self.type_field == self.data_field
        return agreed(self, ["type_field and data_field must differ"] if is_one else [])


class Time(Section):
    """How the records of a route write the time of an event."""

    field: str | None = Field(
        default=None,
        min_length=1,
        description="Path of the time, as in fields; null: the field event_timestamp",
    )
    unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds", "iso8601", "auto"] = (
        Field(
            default="seconds",
            description=(
                "Unit of the time, rounded down to seconds; iso8601: text as "
                "2023-11-14T22:13:20.5+03:00; auto: recognised by its size or form"
            ),
        )
    )
    default: Literal["reject", "record"] = Field(
        default="reject",
        description=(
            "What to do with a record without a time: dead-letter it, or take the time at which "
            "the record was written to Kafka"
        ),
    )


class RouteSettings(Section):
    """A topic and how its records are read."""

    topic: Topic
    resource: ResourceName = Field(
        default="events",
        description=(
            "Resource of the records; with the form envelope each record names its resource"
        ),
    )
    form: Literal["json", "envelope", "cloudevents"] = Field(
        default="json",
        description=(
            'Form of a record: the event itself, {"type": resource, "data": event}, or a '
            "CloudEvent 1.0"
        ),
    )
    constants: Mapping[str, StrictStr | StrictInt] = Field(
        default={},
        description=(
            "Columns with the same value in every row, by name; records may repeat that value"
        ),
    )
    fields: Mapping[str, str] = Field(
        default={},
        description=(
            "Paths of columns that have another name in the records, as in $.user.id, "
            "$.events[0].params or $['a.b']"
        ),
    )
    time: Time | None = Field(
        default=None,
        description=(
            "How records write the time of an event; null: in event_timestamp, as Unix seconds "
            "without a fraction"
        ),
    )
    unknown_fields: Literal["reject", "ignore"] = Field(
        default="reject",
        description=(
            "What to do with a record that has a field unknown to the resource: "
            "dead-letter it, or ignore the field"
        ),
    )
    invalid_optional: Literal["reject", "drop"] = Field(
        default="reject",
        description=(
            "What to do with a record that has an invalid value in an optional column: "
            "dead-letter it, or deliver it without the value and count the value"
        ),
    )
    framing: Literal["none", "confluent", "connect"] = Field(
        default="none",
        description=(
            "Bytes around the JSON of a value: none, the magic byte and schema id of Confluent's "
            'JSON Schema producers, or Kafka Connect\'s {"schema": …, "payload": …}'
        ),
    )
    envelope: Envelope = Field(
        default=Envelope(), description="Names in an envelope, with the form envelope"
    )
    select: Mapping[str, SelectedValues] = Field(
        default={},
        description=(
            "Conditions of the records that are events, all of which must hold: by path of the "
            "value ($.type) or name of a header, the accepted values; other records are skipped"
        ),
    )
    tombstones: Literal["dead_letter", "skip"] = Field(
        default="dead_letter", description="What to do with a record without a value"
    )
    batching: BatchingOverride = Field(
        default=BatchingOverride(), description="Overrides of batching for this route"
    )
    dedup: DedupOverride = Field(
        default=DedupOverride(), description="Overrides of dedup for this route"
    )
    dead_letter: DeadLetterOverride | None = Field(
        default=None, description="Overrides of dead_letter for this route"
    )
    delivery: RouteDelivery = Field(
        default=RouteDelivery(), description="How the batches of this route are sent"
    )
    parking: ParkingOverride = Field(
        default=ParkingOverride(), description="Overrides of parking for this route"
    )

    @model_validator(mode="after")
    def _agree(self) -> RouteSettings:
        faults = faults_of_shape(
            self.resource, self.form, self.constants, self.fields, self.time_field
        )
        if self.time is not None and not is_dated(self.resource, self.form):
            faults.append(at("time", f"{self.resource} have no time: remove it"))
        if self.form != "envelope" and self.envelope != Envelope():
            faults.append(at("envelope", "has an effect only with form: envelope"))
        return agreed(self, [*faults, *faults_of_selection(self.select)])

    @property
    def time_field(self) -> str | None:
        """The path of the time; None where `fields` or the column's name gives it."""
        return self.time.field if self.time is not None else None


@dataclass(frozen=True, slots=True)
class EventKey:
    """The place of an event's own id: a header, or fields that make one id together.

    `without_key` is what to do with a record that has no usable id; None where the place is the
    default, and a record needs no id.
    """

    header: str | None
    fields: tuple[str, ...] = ()
    without_key: WithoutKey | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """A route with the common settings filled in.

    `fields` has the path of the time too, if `time` gives it. `ordered_resources` are those whose
    rows are sent in order. `parking_topic` None: parking is off. `parked_from` is the source topic
    of a parking route, None for other routes.
    """

    topic: str
    resource: str
    form: str
    constants: Mapping[str, str | int]
    fields: Mapping[str, str]
    time: Time | None
    unknown_fields: str
    invalid_optional: str
    framing: str
    envelope: Envelope
    select: Mapping[str, tuple[str | int | bool, ...]]
    tombstones: str
    batching: Batching
    dedup: Dedup
    key: EventKey
    dead_letter: DeadLetter
    ordered_resources: frozenset[str]
    parking_topic: str | None
    parked_from: str | None
