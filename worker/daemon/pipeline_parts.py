"""The parts that decide, made from the settings: a route per topic, and what all routes share."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

from worker.core.batching.batcher import Batcher, BatchLimits, header, no_header
from worker.core.counters.counters import Counters, TopicCounters
from worker.core.dedup.key_memory import KeyBudget
from worker.core.dedup.window import Window
from worker.core.delivery.dispatcher import Dispatcher
from worker.core.delivery.flow_control import Backoff
from worker.core.delivery.limiter import DeliveryRules, LimiterRules
from worker.core.intake.intake import Intake
from worker.core.intake.paths import PATH_START, parse_path
from worker.core.intake.rules import (
    ColumnChoice,
    Condition,
    EnvelopeNames,
    Form,
    Framing,
    IntakeRules,
    InvalidOptional,
    RecordTime,
    TimeDefault,
    TimeUnit,
    Tombstones,
    UnknownFields,
    WithoutKey,
)
from worker.core.model.batch import RequestForm
from worker.core.model.row import Destination
from worker.core.pipeline import Pipeline
from worker.core.post_api.resource import RESOURCES, Identity
from worker.core.progress.clock_check import ClockCheck
from worker.core.progress.ledger import Ledger, LedgerLimits
from worker.core.progress.pressure import ReceptionControl
from worker.core.route import Components, Route, RouteRole
from worker.settings.record_shape import constant_texts
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings


def make_pipeline(
    settings: Settings, routes: tuple[ResolvedRoute, ...], uniform: Callable[[], float]
) -> Pipeline:
    """Make the pipeline with all its components. `uniform` draws from [0, 1)."""
    counters = Counters(topics={route.topic: TopicCounters() for route in routes})
    ledger = Ledger(counters, _ledger_limits(settings))
    delivery = settings.delivery
    backoff = Backoff(delivery.backoff_initial_seconds, delivery.backoff_max_seconds, uniform)
    # Makes batch ids unique among all processes.
    prefix = secrets.token_hex(6)
    budget = KeyBudget(settings.dedup.window_rows_max)
    components = Components(
        routes={
            route.topic: _route(settings, route, budget, f"{prefix}-{index}")
            for index, route in enumerate(routes)
        },
        dispatcher=Dispatcher(_delivery_rules(settings, routes), backoff, ledger.offsets.state),
        ledger=ledger,
        clock=ClockCheck(settings.limits.clock_difference_seconds_max),
    )
    return Pipeline(components, ReceptionControl(settings.kafka.poll_records_max))


def _ledger_limits(settings: Settings) -> LedgerLimits:
    return LedgerLimits(
        settings.limits.memory_bytes_max,
        settings.limits.span_records_max,
        settings.kafka.poll_records_max,
        settings.kafka.commit_interval_seconds,
    )


def _delivery_rules(settings: Settings, routes: tuple[ResolvedRoute, ...]) -> DeliveryRules:
    delivery = settings.delivery
    return DeliveryRules(
        limiter=LimiterRules(
            requests_in_flight_max=delivery.requests_in_flight_max,
            breaker_failures_max=delivery.breaker_failures_max,
            requests_per_second_max=delivery.requests_per_second_max,
            rows_per_second_max=delivery.rows_per_second_max,
        ),
        retry_after_seconds_max=delivery.retry_after_max_seconds,
        hold_probe_seconds=delivery.hold_probe_seconds,
        systemic_ratio=delivery.systemic_ratio,
        systemic_rows_min=delivery.systemic_rows_min,
        bisect_requests_per_minute_max=delivery.bisect_requests_per_minute_max,
        event_age_seconds_max=settings.limits.event_age_seconds_max,
        request_seconds=min(
            settings.appmetrica.read_timeout_seconds, settings.appmetrica.total_timeout_seconds
        ),
        ordered=frozenset(
            (route.topic, resource) for route in routes for resource in route.ordered_resources
        ),
    )


def route_parts(settings: Settings, route: ResolvedRoute) -> Route:
    """Return the intake, window and batcher of a topic, for tools that send nothing."""
    return _route(settings, route, KeyBudget(settings.dedup.window_rows_max), "not-sent")


def _route(
    settings: Settings, route: ResolvedRoute, budget: KeyBudget, batch_id_prefix: str
) -> Route:
    is_body = RequestForm(settings.delivery.request) is RequestForm.BODY
    intake = Intake(intake_rules(settings, route))
    # A query string has one row.
    rows_max = route.batching.rows_max if is_body else 1
    limits = BatchLimits(rows_max, route.batching.body_bytes_max, route.batching.linger_seconds)
    window = Window(
        budget, rows_max=route.dedup.window_rows_max, age_seconds=route.dedup.window_seconds
    )
    return Route(
        intake,
        window,
        Batcher(
            limits,
            batch_id_prefix,
            header if is_body else no_header,
            ordered=route.ordered_resources,
        ),
        _role(route),
    )


def _role(route: ResolvedRoute) -> RouteRole:
    if route.parked_from is not None:
        return RouteRole.PARKING
    return RouteRole.SOURCE if route.parking_topic is None else RouteRole.SOURCE_WITH_PARKING


def intake_rules(settings: Settings, route: ResolvedRoute) -> IntakeRules:
    """Return the rules for the records of this route."""
    request = RequestForm(settings.delivery.request)
    rules = IntakeRules(
        resource=RESOURCES[route.resource],
        applications=frozenset(settings.appmetrica.applications),
        unknown_fields=UnknownFields(route.unknown_fields),
        invalid_optional=InvalidOptional(route.invalid_optional),
        key_header=route.key.header,
        key_fields=route.key.fields,
        event_age_seconds_max=settings.limits.event_age_seconds_max,
        event_ahead_seconds_max=settings.limits.event_ahead_seconds_max,
        row_bytes_max=settings.delivery.query_bytes_max,
        form=Form(route.form),
        constants=constant_texts(route.constants),
        fields={name: parse_path(path) for name, path in route.fields.items()},
        columns=ColumnChoice(route.batching.columns),
        request=request,
        without_key=WithoutKey(route.key.without_key) if route.key.without_key else None,
        is_content_a_key=route.dedup.content is not False,
        framing=Framing(route.framing),
        envelope=EnvelopeNames(
            route.envelope.type_field, route.envelope.data_field, route.envelope.types
        ),
        select=tuple(
            Condition(parse_path(place) if place.startswith(PATH_START) else place, values)
            for place, values in route.select.items()
        ),
        tombstones=Tombstones(route.tombstones),
        time=RecordTime(TimeUnit(route.time.unit), TimeDefault(route.time.default))
        if route.time is not None
        else None,
    )
    if request is RequestForm.PARAMS:
        return rules
    longest_header = max(
        len(header(Destination(one.name, 1, identity)))
        for one in rules.resources()
        for identity in Identity
    )
    return replace(rules, row_bytes_max=route.batching.body_bytes_max - longest_header)
