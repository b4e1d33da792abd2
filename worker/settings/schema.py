"""The schema of the configuration: every setting with its unit, its bounds and its default.

The names are fixed: operators, the chart and the documentation build on them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from worker.settings.admin import Admin
from worker.settings.delivery import AppMetrica, Delivery
from worker.settings.kafka import Kafka
from worker.settings.record_shape import (
    fault_of_key_path,
    fields_with_time,
    is_dated,
    ordered_resources,
)
from worker.settings.route_defaults import KEY_SETTINGS, Batching, DeadLetter, Dedup, Parking
from worker.settings.routing import EventKey, ResolvedRoute, RouteSettings
from worker.settings.section import YEAR_SECONDS, Seconds, Section, agreed, at
from worker.settings.tracing import Tracing


class Limits(Section):
    """The limits of the worker."""

    memory_bytes_max: int = Field(
        default=268_435_456,
        ge=16_777_216,
        le=2**40,
        description=(
            "Maximum bytes of records held in memory. Reception pauses at seven eighths; the rest "
            "is for records that are needed to decide on failing rows. The bodies of requests in "
            "flight come on top"
        ),
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
            "0: it is always trusted"
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


class Log(Section):
    """Log lines."""

    format: Literal["json", "console"] = Field(default="json", description="Format of log lines")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Lowest level that is written; SIGUSR1 switches debug on and off",
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
    tracing: Tracing = Tracing()

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        routes = self.resolved_routes()
        topics = [route.topic for route in routes]
        positions = {route.topic: index for index, route in enumerate(self.routes)}
        faults = []
        for topic in sorted({topic for topic in topics if topics.count(topic) > 1}):
            parked = [
                route.parked_from
                for route in routes
                if route.topic == topic and route.parked_from is not None
            ]
            what = f"is the parking topic of {' and '.join(parked)}, and " if parked else ""
            # The setting to change: the parking topic's name, or the topic of the later route.
            path = (
                f"{positions[parked[-1]]}.parking.topic" if parked else f"{positions[topic]}.topic"
            )
            faults.append(
                at(f"routes.{path}", f"topic {topic} {what}has two routes: use another name")
            )
        for index, route in enumerate(routes[: len(self.routes)]):
            faults += self._faults_of_limits(index, route, topics)
            faults += self._faults_of_key(index, route)
        return agreed(self, faults)

    def _faults_of_key(self, index: int, route: ResolvedRoute) -> list[str]:
        """The faults of a route's key, at the path of the route's own or the common setting."""
        own = _given(self.routes[index].dedup)
        is_own = not own.keys().isdisjoint(KEY_SETTINGS)
        prefix = f"routes.{index}." if is_own else ""
        name = "key_field" if route.dedup.key_fields is None else "key_fields"
        faults: list[str] = []
        for number, text in enumerate(route.key.fields):
            before = route.key.fields[:number]
            message = fault_of_key_path(text, before, route)
            if message:
                path = f"{prefix}dedup.{name}" + (f".{number}" if name == "key_fields" else "")
                faults.append(at(path, f"{text} for {route.topic} {message}"))
        if route.dedup.content and not is_dated(route.resource, route.form):
            prefix = f"routes.{index}." if "content" in own else ""
            message = f"{route.resource} of {route.topic} have no time of their own"
            faults.append(
                at(f"{prefix}dedup.content", f"{message}: the same values may be right twice")
            )
        return faults

    def _faults_of_limits(self, index: int, route: ResolvedRoute, topics: list[str]) -> list[str]:
        """The faults of a route's limits, at the path of the route's own or the common setting."""
        given, faults = self.routes[index], []

        def add(own: object, path: str, message: str) -> None:
            faults.append(at(path if own is None else f"routes.{index}.{path}", message))

        dead_letter, rows_max = route.dead_letter.topic, route.batching.rows_max
        if dead_letter in topics:
            message = (
                f"the dead-letter topic {dead_letter} of {route.topic} is also read by a route"
            )
            add(given.dead_letter, "dead_letter.topic", f"{message}: use another name")
        # The span is per partition: a larger batch could never be filled from one partition, and
        # would always wait for linger.
        if rows_max > (span_max := self.limits.span_records_max):
            bound = f"at most limits.span_records_max ({span_max})"
            message = f"{rows_max} for {route.topic} must be {bound}"
            add(given.batching.rows_max, "batching.rows_max", message)
        if (window := route.dedup.window_rows_max) > (shared := self.dedup.window_rows_max):
            bound = f"at most dedup.window_rows_max of all topics ({shared})"
            add(given, "dedup.window_rows_max", f"{window} for {route.topic} must be {bound}")
        # A body is held beside its rows while it is sent.
        if (body_max := route.batching.body_bytes_max) * 2 > self.limits.memory_bytes_max:
            bound = f"at most half of limits.memory_bytes_max ({self.limits.memory_bytes_max})"
            message = f"{body_max} for {route.topic} must be {bound}"
            add(given.batching.body_bytes_max, "batching.body_bytes_max", message)
        return faults

    def resolved_routes(self) -> tuple[ResolvedRoute, ...]:
        """The routes with the common settings filled in, then the routes of parking topics."""
        routes = tuple(self._resolved(route) for route in self.routes)
        parking_routes = tuple(
            replace(route, topic=route.parking_topic, parking_topic=None, parked_from=route.topic)
            for route in routes
            if route.parking_topic is not None
        )
        return routes + parking_routes

    def _resolved(self, route: RouteSettings) -> ResolvedRoute:
        parking = self.parking.model_copy(update=_given(route.parking))
        ordered = ordered_resources(route.resource, route.form, ordered=route.delivery.ordered)
        if route.resource in ordered and route.parking.enabled is None:
            # Records come back from the parking topic later than newer ones.
            parking = parking.model_copy(update={"enabled": False})
        return ResolvedRoute(
            topic=route.topic,
            resource=route.resource,
            form=route.form,
            constants=route.constants,
            fields=fields_with_time(route.fields, route.time_field),
            time=route.time,
            unknown_fields=route.unknown_fields,
            invalid_optional=route.invalid_optional,
            framing=route.framing,
            envelope=route.envelope,
            select=route.select,
            tombstones=route.tombstones,
            batching=self.batching.model_copy(update=_given(route.batching)),
            dedup=self._dedup(route),
            key=self._key(route),
            dead_letter=DeadLetter(topic=route.dead_letter.topic)
            if route.dead_letter is not None
            else self.dead_letter,
            ordered_resources=ordered,
            parking_topic=(parking.topic or f"{route.topic}.parked") if parking.enabled else None,
            parked_from=None,
        )

    def _dedup(self, route: RouteSettings) -> Dedup:
        given = _given(route.dedup)
        # A route's own place of the key replaces that of the common section.
        if not given.keys().isdisjoint(KEY_SETTINGS):
            given = dict.fromkeys(KEY_SETTINGS) | given
        return self.dedup.model_copy(update=given)

    def _key(self, route: RouteSettings) -> EventKey:
        dedup = self._dedup(route)
        fields = dedup.key_fields or ((dedup.key_field,) if dedup.key_field is not None else ())
        is_own = not _given(route.dedup).keys().isdisjoint(KEY_SETTINGS)
        if not is_own and self.dedup.model_fields_set.isdisjoint(KEY_SETTINGS):
            # A CloudEvent has an id of its own.
            return EventKey(None if route.form == "cloudevents" else dedup.key_header)
        if dedup.key_header is None and not fields:
            return EventKey(None)
        return EventKey(dedup.key_header, fields, dedup.without_key)


def _given(override: Section) -> dict[str, object]:
    return {name: value for name, value in override if value is not None}
