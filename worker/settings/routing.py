"""The settings of a route, and a route with the shared settings filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from worker.settings.record_shape import faults_of_selection, faults_of_shape, is_dated
from worker.settings.route_defaults import (
    Batching,
    BatchingOverride,
    DeadLetter,
    DeadLetterOverride,
    Dedup,
    DedupOverride,
    ParkingOverride,
    WithoutKey,
)
from worker.settings.section import Section, Topic, agreed, at

SelectedValues = Annotated[tuple[StrictStr | StrictInt | StrictBool, ...], Field(min_length=1)]
ResourceName = Literal["events", "revenue", "adrevenue", "ecommerce", "profiles"]


class RouteDelivery(Section):
    """How the route's batches are sent."""

    ordered: bool | None = Field(
        default=None,
        description=(
            "Whether rows are sent in the topic's order, one request at a time per application "
            "and resource; null: only rows of profiles"
        ),
    )


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
