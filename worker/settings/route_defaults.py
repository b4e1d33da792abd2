"""The settings that all routes share, and that each route may override.

Batching, deduplication, dead letters and parking.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from worker.settings.section import YEAR_SECONDS, Seconds, Section, Topic, agreed

KeyField = Annotated[str, Field(min_length=1)]
WindowSeconds = Annotated[float, Field(gt=0, le=YEAR_SECONDS, allow_inf_nan=False)]
ColumnNames = Literal["all", "exact"]
WithoutKey = Literal["content", "none", "reject"]
# 13 GB of keys: a larger number is a typing error.
WINDOW_ROWS_LIMIT = 100_000_000
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
            "each set of columns has batches of its own"
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
            "Maximum time to rebuild the window, for all newly assigned partitions together; "
            "duplicates of records that were not read again may be delivered"
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


class ParkingOverride(Section):
    """The route's own values of `parking`. Null: the common value.

    An ordered route doesn't park unless its own value says so.
    """

    enabled: bool | None = Field(
        default=None,
        description="Overrides parking.enabled; null: disabled if the route is ordered",
    )
    topic: Topic | None = Field(default=None, description="Overrides parking.topic")
