"""Settings become parts: every room and edge is made here, each with just what it needs."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from worker import __version__
from worker.core.batching.batcher import Batcher, BatchLimits, header, no_header
from worker.core.counters.counters import Counters, TopicCounters
from worker.core.dedup.key_memory import KeyBudget, remembered_at_least
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
from worker.core.model.fault import Rejection
from worker.core.model.row import Destination, Row
from worker.core.pipeline import Pipeline
from worker.core.post_api.resource import RESOURCES, Identity
from worker.core.progress.clock_check import ClockCheck
from worker.core.progress.ledger import Ledger, LedgerLimits
from worker.core.progress.pressure import ReceptionControl
from worker.core.route import Components, Route, RouteRole
from worker.core.wire import commit_metadata
from worker.daemon.inbox import Inbox
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity, Secret
from worker.edges.kafka.membership import SourceOptions
from worker.edges.kafka.receiver import PollOptions
from worker.edges.kafka.source import KafkaSource
from worker.edges.kafka.stored_records import dead_letter_writer, parking_writer
from worker.edges.kafka.window_rebuild import TailOptions
from worker.edges.kafka.writer import TopicWriter
from worker.edges.post_api.api_keys import Keys
from worker.edges.post_api.sink import HttpSink, SinkOptions
from worker.settings.record_shape import constant_texts
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings

CLIENT_ID = "appmetrica-worker"
# The Kafka client fetches ahead what nobody has asked for yet. Of the memory: all of it together,
# one answer of a broker, and what one partition gets of that answer. The allowance for the
# interpreter bears it.
FETCHED_IN_MEMORY, ANSWERS_IN_MEMORY, FETCHES_IN_MEMORY = 8, 32, 512
# What one batch may expand to is there twice while its records are taken out.
BATCHES_IN_MEMORY = 4


@dataclass(frozen=True, slots=True)
class ClockAndRandom:
    """What a worker can't decide: chance and time.

    `uniform` draws from [0, 1); `turn_clock` times the handling of events.
    """

    uniform: Callable[[], float] = random.random
    unix_time: Callable[[], float] = time.time
    turn_clock: Callable[[], float] = time.perf_counter


REAL = ClockAndRandom()


@dataclass(frozen=True, slots=True)
class Parts:
    """What the shell runs."""

    pipeline: Pipeline
    connection: KafkaConnection
    inbox: Inbox
    source: KafkaSource
    keys: Keys
    sink: HttpSink
    dead_letters: TopicWriter[Rejection]
    parking: TopicWriter[Row]


def assemble(
    settings: Settings,
    instance_id: str,
    learn_secret: Callable[[str], None],
    clock_and_random: ClockAndRandom = REAL,
) -> Parts:
    """Make every part. Nothing is opened or started yet.

    Args:
        settings: the whole configuration.
        instance_id: what no other living worker is called.
        learn_secret: takes a key that comes while the worker runs, to keep it out of the log.
        clock_and_random: chance and time.
    """
    inbox = Inbox(clock_and_random.turn_clock)
    connection = kafka_connection(settings, f"{CLIENT_ID}-{instance_id}")
    routes = settings.resolved_routes()
    applications = settings.appmetrica.applications
    keys = Keys(
        {application_id: Secret(one.key) for application_id, one in applications.items()},
        {
            number: one.post_api_key_file
            for number, one in applications.items()
            if one.post_api_key_file is not None
        },
        learn_secret,
        inbox.post,
    )
    return Parts(
        pipeline=_pipeline(settings, routes, clock_and_random.uniform),
        connection=connection,
        inbox=inbox,
        source=KafkaSource(
            connection,
            _source_options(settings),
            inbox.post,
            inbox.drained,
            clock_and_random.unix_time,
        ),
        keys=keys,
        sink=HttpSink(_sink_options(settings), keys.key),
        dead_letters=dead_letter_writer(
            connection,
            {route.topic: route.dead_letter.topic for route in routes},
            __version__,
            inbox.post,
        ),
        parking=parking_writer(
            connection,
            {
                route.topic: route.parking_topic
                for route in routes
                if route.parking_topic is not None
            },
            applications,
            inbox.post,
        ),
    )


def _pipeline(
    settings: Settings, routes: tuple[ResolvedRoute, ...], uniform: Callable[[], float]
) -> Pipeline:
    counters = Counters(topics={route.topic: TopicCounters() for route in routes})
    limits = settings.limits
    ledger = Ledger(
        counters,
        LedgerLimits(
            limits.memory_bytes_max,
            limits.span_records_max,
            settings.kafka.poll_records_max,
            settings.kafka.commit_interval_seconds,
        ),
    )
    delivery = settings.delivery
    rules = DeliveryRules(
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
    backoff = Backoff(delivery.backoff_initial_seconds, delivery.backoff_max_seconds, uniform)
    # What makes batch ids unique among all processes that ever send.
    prefix = secrets.token_hex(6)
    budget = KeyBudget(settings.dedup.window_rows_max)
    components = Components(
        routes={
            route.topic: _route(settings, route, budget, f"{prefix}-{index}")
            for index, route in enumerate(routes)
        },
        dispatcher=Dispatcher(rules, backoff, ledger.offsets.state),
        ledger=ledger,
        clock=ClockCheck(settings.limits.clock_difference_seconds_max),
    )
    return Pipeline(components, ReceptionControl(settings.kafka.poll_records_max))


def route_parts(settings: Settings, route: ResolvedRoute) -> Route:
    """One topic's intake, window and batcher, for tools that send nothing."""
    return _route(settings, route, KeyBudget(settings.dedup.window_rows_max), "not-sent")


def _route(
    settings: Settings, route: ResolvedRoute, budget: KeyBudget, batch_id_prefix: str
) -> Route:
    is_body = RequestForm(settings.delivery.request) is RequestForm.BODY
    intake = Intake(intake_rules(settings, route))
    # One row to a query string.
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
    """What this route demands of its records."""
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


def kafka_connection(settings: Settings, client_id: str) -> KafkaConnection:
    """How a client of that name connects.

    The tools take it from here, so that they see what the worker sees.
    """
    kafka = settings.kafka
    return KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers,
        client_id=client_id,
        request_timeout_seconds=kafka.request_timeout_seconds,
        security=KafkaSecurity(
            protocol=kafka.security_protocol,
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_username=kafka.sasl_username,
            sasl_password=Secret(kafka.sasl_password.get_secret_value())
            if kafka.sasl_password is not None
            else None,
            ca_file=kafka.ssl_ca_file,
            certificate_file=kafka.ssl_certificate_file,
            key_file=kafka.ssl_key_file,
            key_password=Secret(kafka.ssl_key_password.get_secret_value())
            if kafka.ssl_key_password is not None
            else None,
        ),
    )


def batch_bytes_max(settings: Settings) -> int:
    """What a record batch may expand to, in the worker and in the tools."""
    return min(
        settings.kafka.batch_bytes_max, settings.limits.memory_bytes_max // BATCHES_IN_MEMORY
    )


def _source_options(settings: Settings) -> SourceOptions:
    kafka, routes = settings.kafka, settings.resolved_routes()
    return SourceOptions(
        topics=tuple(route.topic for route in routes),
        optional_topics=frozenset(route.topic for route in routes if route.parked_from is not None),
        group_id=kafka.group_id,
        session_timeout_seconds=kafka.session_timeout_seconds,
        heartbeat_interval_seconds=kafka.heartbeat_interval_seconds,
        rebalance_timeout_seconds=kafka.rebalance_timeout_seconds,
        drain_on_revoke_seconds=kafka.drain_on_revoke_seconds,
        commit_timeout_seconds=kafka.commit_timeout_seconds,
        partition_fetch_bytes_max=min(
            kafka.partition_fetch_bytes_max, settings.limits.memory_bytes_max // FETCHES_IN_MEMORY
        ),
        fetch_bytes_max=min(
            kafka.fetch_bytes_max, settings.limits.memory_bytes_max // ANSWERS_IN_MEMORY
        ),
        batch_bytes_max=batch_bytes_max(settings),
        starts_at_latest=kafka.initial_offset == "latest",
        tail=TailOptions(
            records_max=settings.dedup.rebuild_records_max,
            rows_max={route.topic: _rows_recalled(settings, route) for route in routes},
            seconds_max=settings.dedup.rebuild_seconds_max,
            age_seconds=max(route.dedup.window_seconds for route in routes),
            end=commit_metadata.end,
        ),
        naming={
            route.topic: frozenset(
                topic
                for topic in (route.dead_letter.topic, route.parking_topic)
                if topic is not None
            )
            for route in routes
        },
        poll=PollOptions(
            kafka.poll_records_max,
            kafka.on_corrupt == "skip",
            kafka.stall_seconds,
            settings.limits.memory_bytes_max // FETCHED_IN_MEMORY,
        ),
    )


def _rows_recalled(settings: Settings, route: ResolvedRoute) -> int:
    """The number of a topic's rows that find room whatever the other topics hold.

    Only so many rows of its tails are worth reading again.
    """
    # An equal share; a parking topic has a quarter of its route's, as it holds only what was on
    # hold.
    quarters = 1 if route.parked_from is not None else 4 if route.parking_topic is None else 3
    share = settings.dedup.window_rows_max // len(settings.routes) * quarters // 4
    return remembered_at_least(max(1, min(share, route.dedup.window_rows_max)))


def _sink_options(settings: Settings) -> SinkOptions:
    api = settings.appmetrica
    return SinkOptions(
        base_url=str(api.base_url),
        requests_in_flight_max=settings.delivery.requests_in_flight_max,
        connect_timeout_seconds=api.connect_timeout_seconds,
        read_timeout_seconds=api.read_timeout_seconds,
        total_timeout_seconds=api.total_timeout_seconds,
        trusts_environment=api.trust_env,
        user_agent=f"{CLIENT_ID}/{__version__}",
        form=RequestForm(settings.delivery.request),
    )
