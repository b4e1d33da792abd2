"""The schema of the configuration: every setting with its unit, its bounds and its default.

The names are fixed: operators, the chart and the documentation build on them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, model_validator

from worker.core.model.secret_text import unusable_key
from worker.settings.kafka import Kafka
from worker.settings.routing import (
    Batching,
    DeadLetter,
    Dedup,
    Parking,
    ResolvedRoute,
    RouteSettings,
)
from worker.settings.section import YEAR_SECONDS, Seconds, Section, agreed, at

APPLICATION_ID_MAX = 2**63 - 1
_APPLICATION_ID = re.compile(r"[1-9][0-9]{0,18}")


def _key(value: SecretStr) -> SecretStr:
    unusable = unusable_key(value.get_secret_value())
    if unusable is not None:
        raise ValueError(f"the key {unusable.message}")
    return value


def _with_plain_ids(value: object) -> object:
    # "05" and "5" are one number: whichever came last would win silently. And what stands here by
    # mistake may be a key.
    if isinstance(value, dict) and not all(_APPLICATION_ID.fullmatch(str(name)) for name in value):
        raise ValueError("an application's id must be a positive integer without leading zeros")
    return value


def _base_url(value: HttpUrl) -> HttpUrl:
    if value.query or value.fragment or value.username or value.password:
        raise ValueError("may hold only scheme, host, port and path")
    return value


class Application(Section):
    """One application's key: given, or in a file."""

    post_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(
        default=None,
        description="Post API key; better in the environment or in a file of its own than here",
    )
    post_api_key_file: Path | None = Field(
        default=None, description="File that holds the Post API key; replaces post_api_key"
    )

    @model_validator(mode="after")
    def _agree(self) -> Application:
        missing = self.post_api_key is None
        return agreed(
            self, ["required: one of post_api_key and post_api_key_file"] if missing else []
        )

    @property
    def key(self) -> str:
        """The key itself."""
        if self.post_api_key is None:
            raise AssertionError("validated: an application has a key")
        return self.post_api_key.get_secret_value()


class AppMetrica(Section):
    """The API and the applications that have a key for it."""

    base_url: Annotated[HttpUrl, AfterValidator(_base_url)] = Field(
        default=HttpUrl("https://api.appmetrica.yandex.com"), description="Base URL of the Post API"
    )
    applications: Annotated[
        Mapping[Annotated[int, Field(ge=1, le=APPLICATION_ID_MAX)], Application],
        BeforeValidator(_with_plain_ids),
    ] = Field(min_length=1, description="Keys of the applications, by application id")
    connect_timeout_seconds: Seconds = Field(
        default=10, description="Time-out of a connection attempt"
    )
    read_timeout_seconds: Seconds = Field(
        default=25, description="Maximum time without data from the API during a request"
    )
    total_timeout_seconds: Seconds = Field(default=30, description="Time-out of a whole request")
    trust_env: bool = Field(
        default=False, description="Whether proxy variables such as HTTPS_PROXY are used"
    )


class Delivery(Section):
    """How batches are sent."""

    requests_in_flight_max: int = Field(
        default=8, ge=1, le=256, description="Maximum number of requests in flight"
    )
    request: Literal["body", "params"] = Field(
        default="body",
        description="Form of a request: rows as CSV in the body, or one row in the query string",
    )
    query_bytes_max: int = Field(
        default=7168,
        ge=512,
        le=1_048_576,
        description=(
            "Maximum bytes of a row in a query string; many servers accept 8 KiB "
            "including the rest of the URL"
        ),
    )
    backoff_initial_seconds: Seconds = Field(
        default=0.5, description="Maximum wait before the first retry"
    )
    backoff_max_seconds: Seconds = Field(default=60, description="Maximum wait before any retry")
    retry_after_max_seconds: Seconds = Field(
        default=300, description="Maximum Retry-After that is obeyed"
    )
    breaker_failures_max: int = Field(
        default=5,
        ge=1,
        le=1000,
        description=(
            "Consecutive failures that open the breaker; then only one request at a time "
            "probes the API"
        ),
    )
    requests_per_second_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Maximum average requests per second; null: no limit"
    )
    rows_per_second_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Maximum average rows per second; null: no limit"
    )
    bisect_requests_per_minute_max: int = Field(
        default=600,
        ge=1,
        le=100_000,
        description="Maximum requests per minute that search for the bad rows of refused batches",
    )
    hold_probe_seconds: Seconds = Field(
        default=30, description="Interval between probes of an application on hold"
    )
    systemic_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description=(
            "Share of refused rows above which the application is put on hold and no row "
            "is dead-lettered"
        ),
    )
    systemic_rows_min: int = Field(
        default=20,
        ge=2,
        le=100_000,
        description="Minimum number of rows of a batch for systemic_ratio to apply",
    )

    @model_validator(mode="after")
    def _agree(self) -> Delivery:
        swapped = self.backoff_initial_seconds > self.backoff_max_seconds
        return agreed(
            self, ["backoff_initial_seconds must be at most backoff_max_seconds"] if swapped else []
        )


class Limits(Section):
    """What bounds the worker."""

    memory_bytes_max: int = Field(
        default=268_435_456,
        ge=16_777_216,
        le=2**40,
        description="Maximum bytes of records held in memory",
    )
    span_records_max: int = Field(
        default=20_000,
        ge=1,
        le=10_000_000,
        description="How many offsets a partition may be read beyond its committed position",
    )
    event_age_seconds_max: int = Field(
        default=1_209_600,
        ge=1,
        le=YEAR_SECONDS,
        description="Maximum age of an event; the API accepts 14 days",
    )
    event_ahead_seconds_max: int = Field(
        default=86_400,
        ge=0,
        le=YEAR_SECONDS,
        description="How far an event's time may be in the future",
    )
    clock_difference_seconds_max: int = Field(
        default=3600,
        ge=0,
        le=YEAR_SECONDS,
        description=(
            "How far the local clock may be from the API's before nothing is received; "
            "0: it is always right"
        ),
    )


class Shutdown(Section):
    """How the worker stops."""

    drain_seconds: Seconds = Field(
        default=40,
        description=(
            "Maximum duration of a stop; the pod's terminationGracePeriodSeconds must be longer"
        ),
    )


class Admin(Section):
    """The admin port."""

    host: str = Field(
        default="::",
        min_length=1,
        description=(
            "Address to listen on. `::`: all IPv6 and IPv4 addresses; 0.0.0.0: all IPv4 addresses"
        ),
    )
    port: int = Field(
        default=9090, ge=0, le=65_535, description="Port to listen on; 0 picks a free port"
    )


class Log(Section):
    """Log lines."""

    format: Literal["json", "console"] = Field(default="json", description="Format of log lines")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is written"
    )


class Settings(Section):
    """The whole configuration of `appmetrica-worker run`."""

    kafka: Kafka = Kafka()
    routes: tuple[RouteSettings, ...] = Field(
        default=(RouteSettings(topic="offline-events"),),
        min_length=1,
        description="The topics to read",
    )
    appmetrica: AppMetrica
    batching: Batching = Batching()
    delivery: Delivery = Delivery()
    dedup: Dedup = Dedup()
    dead_letter: DeadLetter = DeadLetter()
    parking: Parking = Parking()
    limits: Limits = Limits()
    shutdown: Shutdown = Shutdown()
    state_dir: Path | None = Field(
        default=None,
        description=(
            "Directory that survives a crash of the process, for the instance id; null: "
            "no take-over after a crash"
        ),
    )
    admin: Admin = Admin()
    log: Log = Log()

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        routes = self.resolved_routes()
        topics = [route.topic for route in routes]
        positions = {route.topic: index for index, route in enumerate(self.routes)}
        faults = []
        for topic in sorted({one for one in topics if topics.count(one) > 1}):
            parked = [
                route.parked_from
                for route in routes
                if route.topic == topic and route.parked_from is not None
            ]
            what = f"is the parking topic of {' and '.join(parked)}, and " if parked else ""
            # Where it can be fixed: the parking topic's name, or the later one of two routes.
            place = (
                f"{positions[parked[-1]]}.parking.topic" if parked else f"{positions[topic]}.topic"
            )
            faults.append(
                at(f"routes.{place}", f"topic {topic} {what}has two routes: use another name")
            )
        for index, route in enumerate(routes[: len(self.routes)]):
            faults += self._faults_of_limits(index, route, topics)
        return agreed(self, faults)

    def _faults_of_limits(self, index: int, route: ResolvedRoute, topics: list[str]) -> list[str]:
        """What of a route doesn't fit the rest, at the place where it was said: in the route, or
        for all of them.
        """
        given = self.routes[index]
        faults = []
        if route.dead_letter.topic in topics:
            message = (
                f"the dead-letter topic {route.dead_letter.topic} of {route.topic} is also "
                "read by a route"
            )
            prefix = f"routes.{index}." if given.dead_letter is not None else ""
            faults.append(at(f"{prefix}dead_letter.topic", f"{message}: use another name"))
        # Span is per partition: a batch above it could never fill from one partition, and would
        # always wait for linger.
        if route.batching.rows_max > self.limits.span_records_max:
            prefix = f"routes.{index}." if given.batching.rows_max is not None else ""
            message = (
                f"{route.batching.rows_max} for {route.topic} must be at most "
                "limits.span_records_max"
            )
            faults.append(
                at(f"{prefix}batching.rows_max", f"{message} ({self.limits.span_records_max})")
            )
        if route.dedup.window_rows_max > self.dedup.window_rows_max:
            message = (
                f"{route.dedup.window_rows_max} for {route.topic} must be at most "
                "dedup.window_rows_max of all topics"
            )
            place = f"routes.{index}.dedup.window_rows_max"
            faults.append(at(place, f"{message} ({self.dedup.window_rows_max})"))
        # A body is held beside its rows while it is sent.
        if route.batching.body_bytes_max * 2 > self.limits.memory_bytes_max:
            prefix = f"routes.{index}." if given.batching.body_bytes_max is not None else ""
            message = (
                f"{route.batching.body_bytes_max} for {route.topic} must be at most half "
                "of limits.memory_bytes_max"
            )
            faults.append(
                at(
                    f"{prefix}batching.body_bytes_max",
                    f"{message} ({self.limits.memory_bytes_max})",
                )
            )
        return faults

    def resolved_routes(self) -> tuple[ResolvedRoute, ...]:
        """Each route with what it leaves open taken from the top of the file, and behind them the
        routes of parking topics.
        """
        routes = tuple(self._resolved(route) for route in self.routes)
        homes = tuple(
            replace(route, topic=route.parking_topic, parking_topic=None, parked_from=route.topic)
            for route in routes
            if route.parking_topic is not None
        )
        return routes + homes

    def _resolved(self, route: RouteSettings) -> ResolvedRoute:
        parking = self.parking.model_copy(update=_given(route.parking))
        return ResolvedRoute(
            topic=route.topic,
            resource=route.resource,
            form=route.form,
            constants=route.constants,
            fields=route.fields,
            unknown_fields=route.unknown_fields,
            batching=self.batching.model_copy(update=_given(route.batching)),
            dedup=self._dedup(route),
            dead_letter=DeadLetter(topic=route.dead_letter.topic)
            if route.dead_letter is not None
            else self.dead_letter,
            parking_topic=(parking.topic or f"{route.topic}.parked") if parking.enabled else None,
            parked_from=None,
        )

    def _dedup(self, route: RouteSettings) -> Dedup:
        given = _given(route.dedup)
        # A route that names its key one way isn't named the other way by the top of the file as
        # well.
        if "key_field" in given or "key_header" in given:
            given = {"key_field": None, "key_header": None} | given
        return self.dedup.model_copy(update=given)


def _given(override: Section) -> dict[str, object]:
    return {name: value for name, value in override if value is not None}
