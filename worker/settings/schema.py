"""The schema of the configuration: every setting with its unit, its bounds and its default.

The names are fixed: operators, the chart and the documentation build on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, HttpUrl, SecretStr, model_validator
from pydantic_settings import NoDecode

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Topic = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$", description="A topic's name")]


def _servers(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or any(character.isspace() for character in text):
        raise ValueError("a key is not empty and holds no white space")
    return value


def _base_url(value: HttpUrl) -> HttpUrl:
    if value.query or value.fragment or value.username or value.password:
        raise ValueError("only scheme, host, port and path")
    return value


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


SectionT = TypeVar("SectionT", bound=Section)


def _or_raise(section: SectionT, faults: list[str]) -> SectionT:
    if faults:
        raise ValueError("; ".join(faults))
    return section


class Kafka(Section):
    """The brokers, the group, and how to consume."""

    bootstrap_servers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_servers), Field(min_length=1)] = Field(
        default=("localhost:9092",), description="Brokers to ask first: host:port, a list or separated by commas"
    )
    group_id: str = Field(default="appmetrica-worker", min_length=1, description="The consumer group")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to connect"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How to log in, with a SASL protocol"
    )
    sasl_username: str | None = Field(default=None, description="The user to log in as")
    sasl_password: SecretStr | None = Field(default=None, description="Its password")
    sasl_password_file: Path | None = Field(default=None, description="A file that holds the password, instead")
    ssl_ca_file: Path | None = Field(default=None, description="Certificates that are trusted; null: the system's")
    ssl_certificate_file: Path | None = Field(default=None, description="The client's certificate")
    ssl_key_file: Path | None = Field(default=None, description="The client's private key")
    ssl_key_password: SecretStr | None = Field(default=None, description="The password of that key")
    ssl_key_password_file: Path | None = Field(default=None, description="A file that holds that password, instead")
    initial_offset: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where the very first start of the group reads from; later starts never use it"
    )
    session_timeout_seconds: Positive = Field(default=45, description="After so long without a heartbeat a member is dead")
    heartbeat_interval_seconds: Positive = Field(default=3, description="How often a heartbeat is sent")
    request_timeout_seconds: Positive = Field(default=40, description="How long a request to a broker may take")
    rebalance_timeout_seconds: Positive = Field(default=30, description="How long a rebalance waits for a member")
    drain_on_revoke_seconds: Positive = Field(
        default=10, description="How long partitions that are taken away may take to be brought to an end"
    )
    commit_interval_seconds: Positive = Field(default=1.0, description="How often positions are committed at most")
    commit_timeout_seconds: Positive = Field(default=10, description="How long a commit may take")
    poll_records_max: int = Field(default=1000, ge=1, le=10_000, description="Records taken from a partition at once")
    partition_fetch_bytes_max: int = Field(
        default=1_048_576, ge=1024, description="Bytes fetched of a partition at once, before decompression"
    )
    fetch_bytes_max: int = Field(default=16_777_216, ge=1024, description="Bytes fetched at once, before decompression")

    @model_validator(mode="after")
    def _agree(self) -> Kafka:
        faults = []
        order = ("drain_on_revoke_seconds", "rebalance_timeout_seconds", "request_timeout_seconds", "session_timeout_seconds")
        for lower, upper in pairwise(order):
            if getattr(self, lower) >= getattr(self, upper):
                faults.append(f"{lower} ({getattr(self, lower):g}) must be less than {upper} ({getattr(self, upper):g})")
        if self.heartbeat_interval_seconds * 3 > self.session_timeout_seconds:
            faults.append("heartbeat_interval_seconds must be at most a third of session_timeout_seconds")
        if self.drain_on_revoke_seconds + self.commit_timeout_seconds > self.rebalance_timeout_seconds:
            faults.append("drain_on_revoke_seconds and commit_timeout_seconds together must fit rebalance_timeout_seconds")
        if self.security_protocol.startswith("SASL_"):
            faults += [
                f"{name} is required with security_protocol {self.security_protocol}"
                for name in ("sasl_mechanism", "sasl_username", "sasl_password")
                if getattr(self, name) is None
            ]
        return _or_raise(self, faults)


class Batching(Section):
    """When a batch is sealed."""

    rows_max: int = Field(default=5000, ge=1, le=100_000, description="Rows per request; the API takes 100,000")
    body_bytes_max: int = Field(default=8_388_608, ge=4096, le=1_000_000_000, description="Bytes per body; the API takes 1 GB")
    linger_seconds: Positive = Field(default=1.0, description="How long a batch waits for more rows")


class Dedup(Section):
    """How an event that comes again is recognised."""

    key_header: str | None = Field(default=None, min_length=1, description="The record header that holds the event's id")
    key_field: str | None = Field(default=None, min_length=1, description="The field of the value that holds the event's id")
    window_seconds: Positive = Field(default=86_400, description="How long a delivered event is remembered")
    window_rows_max: int = Field(default=1_000_000, ge=8, description="How many delivered events are remembered, at 110 B each")

    @model_validator(mode="after")
    def _agree(self) -> Dedup:
        both = self.key_header is not None and self.key_field is not None
        return _or_raise(self, ["key_header and key_field exclude each other"] if both else [])


class DeadLetter(Section):
    """Where records go that can't be delivered."""

    topic: Topic = "offline-events.dlq"


class BatchingOverride(Section):
    """What of `batching` is different for one route. Null: as at the top."""

    rows_max: int | None = Field(default=None, ge=1, le=100_000)
    body_bytes_max: int | None = Field(default=None, ge=4096, le=1_000_000_000)
    linger_seconds: Positive | None = None


class DedupOverride(Section):
    """What of `dedup` is different for one route. Null: as at the top."""

    key_header: str | None = Field(default=None, min_length=1)
    key_field: str | None = Field(default=None, min_length=1)
    window_seconds: Positive | None = None
    window_rows_max: int | None = Field(default=None, ge=8)


class DeadLetterOverride(Section):
    """What of `dead_letter` is different for one route."""

    topic: Topic


class RouteSettings(Section):
    """A topic, and what its records are."""

    topic: Topic
    resource: Literal["events"] = Field(default="events", description="The kind of import its records are")
    unknown_fields: Literal["reject", "ignore"] = Field(
        default="reject", description="What becomes of a record with a field that the resource doesn't know"
    )
    batching: BatchingOverride = Field(default=BatchingOverride(), description="What differs from the batching of all")
    dedup: DedupOverride = Field(default=DedupOverride(), description="What differs from the dedup of all")
    dead_letter: DeadLetterOverride | None = Field(default=None, description="Another dead-letter topic")


class Application(Section):
    """One application's key: given, or in a file."""

    post_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(
        default=None, description="The Post API key; better from the environment than in a file"
    )
    post_api_key_file: Path | None = Field(default=None, description="A file that holds the key, instead")

    @model_validator(mode="after")
    def _agree(self) -> Application:
        missing = self.post_api_key is None
        return _or_raise(self, ["one of post_api_key and post_api_key_file is required"] if missing else [])

    @property
    def key(self) -> str:
        """The key itself."""
        if self.post_api_key is None:
            raise AssertionError("validated: an application has a key")
        return self.post_api_key.get_secret_value()


class AppMetrica(Section):
    """The API and the applications that have a key for it."""

    base_url: Annotated[HttpUrl, AfterValidator(_base_url)] = Field(
        default=HttpUrl("https://api.appmetrica.yandex.com"), description="The API's address, without the path"
    )
    applications: Mapping[Annotated[int, Field(ge=1, lt=2**63)], Application] = Field(
        min_length=1, description="By application id: its key"
    )
    connect_timeout_seconds: Positive = Field(default=10, description="How long connecting may take")
    read_timeout_seconds: Positive = Field(default=25, description="How long the API may be silent")
    total_timeout_seconds: Positive = Field(default=30, description="How long a request may take in all")
    trust_env: bool = Field(default=False, description="Whether HTTPS_PROXY and its like are used")


class Delivery(Section):
    """How batches are sent."""

    requests_in_flight_max: int = Field(default=8, ge=1, le=256, description="Requests under way at once")
    request: Literal["body"] = Field(default="body", description="The form of a request: rows as CSV in its body")
    backoff_initial_seconds: Positive = Field(default=0.5, description="The longest first wait before a retry")
    backoff_max_seconds: Positive = Field(default=60, description="The longest wait before a retry")
    retry_after_max_seconds: Positive = Field(default=300, description="The longest Retry-After that is obeyed")
    hold_probe_seconds: Positive = Field(default=30, description="How often an application on hold is tried")
    systemic_ratio: float = Field(
        default=0.5, gt=0, le=1, description="Above this share of refused rows the application is held, and no row dropped"
    )
    systemic_rows_min: int = Field(default=20, ge=2, description="Smaller batches are exempt from that")

    @model_validator(mode="after")
    def _agree(self) -> Delivery:
        swapped = self.backoff_initial_seconds > self.backoff_max_seconds
        return _or_raise(self, ["backoff_initial_seconds must be at most backoff_max_seconds"] if swapped else [])


class Limits(Section):
    """What bounds the worker."""

    memory_bytes_max: int = Field(default=268_435_456, ge=16_777_216, description="Bytes held by everything that holds records")
    span_records_max: int = Field(
        default=20_000, ge=1, description="How far a partition may be read beyond its committed position"
    )
    event_age_seconds_max: int = Field(default=1_209_600, ge=1, description="The oldest event that the API takes: 14 days")
    event_ahead_seconds_max: int = Field(default=86_400, ge=0, description="How far an event may lie in the future")


class Shutdown(Section):
    """How the worker stops."""

    drain_seconds: Positive = Field(default=40, description="How long a stop may take; the pod's grace must be longer")


class Admin(Section):
    """The admin port."""

    host: str = Field(default="0.0.0.0", description="The address to listen on")
    port: int = Field(default=9090, ge=0, le=65_535, description="The port to listen on; 0 takes a free one")


class Log(Section):
    """Log lines."""

    format: Literal["json", "console"] = Field(default="json", description="For machines, or for people")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="What is too quiet to be written")


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """A route with everything that it takes from the top of the file filled in."""

    topic: str
    resource: str
    unknown_fields: str
    batching: Batching
    dedup: Dedup
    dead_letter: DeadLetter


class Settings(Section):
    """The whole configuration of `appmetrica-worker run`."""

    kafka: Kafka = Kafka()
    routes: tuple[RouteSettings, ...] = Field(
        default=(RouteSettings(topic="offline-events"),), min_length=1, description="The topics to read"
    )
    appmetrica: AppMetrica
    batching: Batching = Batching()
    delivery: Delivery = Delivery()
    dedup: Dedup = Dedup()
    dead_letter: DeadLetter = DeadLetter()
    limits: Limits = Limits()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        faults = []
        topics = [route.topic for route in self.routes]
        faults += [f"topic {topic} has two routes" for topic in sorted({one for one in topics if topics.count(one) > 1})]
        for route in self.resolved_routes():
            if route.dead_letter.topic in topics:
                faults.append(f"the dead-letter topic {route.dead_letter.topic} of {route.topic} is itself read by a route")
            # Span is per partition: a batch above it could never fill from one partition, and would always wait for linger.
            if route.batching.rows_max > self.limits.span_records_max:
                faults.append(f"batching.rows_max of {route.topic} must be at most limits.span_records_max")
            # A body is held beside its rows while it is sent.
            if route.batching.body_bytes_max * 2 > self.limits.memory_bytes_max:
                faults.append(f"batching.body_bytes_max of {route.topic} must be at most half of limits.memory_bytes_max")
        return _or_raise(self, faults)

    def resolved_routes(self) -> tuple[ResolvedRoute, ...]:
        """Each route with what it leaves open taken from the top of the file."""
        return tuple(
            ResolvedRoute(
                topic=route.topic,
                resource=route.resource,
                unknown_fields=route.unknown_fields,
                batching=self.batching.model_copy(update=_given(route.batching)),
                dedup=self._dedup(route),
                dead_letter=DeadLetter(topic=route.dead_letter.topic) if route.dead_letter is not None else self.dead_letter,
            )
            for route in self.routes
        )

    def _dedup(self, route: RouteSettings) -> Dedup:
        given = _given(route.dedup)
        # A route that names its key one way isn't named the other way by the top of the file as well.
        if "key_field" in given or "key_header" in given:
            given = {"key_field": None, "key_header": None} | given
        return self.dedup.model_copy(update=given)


def _given(override: Section) -> dict[str, object]:
    return {name: value for name, value in override if value is not None}
