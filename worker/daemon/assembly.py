"""Every part of the process, made from the settings. Nothing is opened or started here."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker import __version__
from worker.core.model.batch import RequestForm
from worker.core.model.fault import Rejection
from worker.core.model.row import Row
from worker.core.pipeline import Pipeline
from worker.daemon.inbox import Inbox
from worker.daemon.kafka_options import kafka_connection, source_options
from worker.daemon.pipeline_parts import make_pipeline
from worker.edges.kafka.client import KafkaConnection, Secret
from worker.edges.kafka.source import KafkaSource
from worker.edges.kafka.stored_records import dead_letter_writer, parking_writer
from worker.edges.kafka.writer import TopicWriter
from worker.edges.post_api.api_keys import Keys
from worker.edges.post_api.sink import HttpSink, SinkOptions
from worker.edges.telemetry.admin_credentials import AdminCredentials
from worker.settings.admin import Admin
from worker.settings.routing import ResolvedRoute
from worker.settings.schema import Settings

if TYPE_CHECKING:
    from worker.edges.telemetry.trace_export import SpanExport
    from worker.edges.telemetry.traces import Traces

CLIENT_ID = "appmetrica-worker"


@dataclass(frozen=True, slots=True)
class ClockAndRandom:
    """Chance and time, which the core gets as arguments.

    `uniform` draws from [0, 1); `turn_clock` times the handling of events.
    """

    uniform: Callable[[], float] = random.random
    unix_time: Callable[[], float] = time.time
    turn_clock: Callable[[], float] = time.perf_counter


REAL = ClockAndRandom()


@dataclass(frozen=True, slots=True)
class TraceParts:
    """What makes spans, and what sends them."""

    traces: Traces
    export: SpanExport


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the process. `tracing` is None while `tracing.enabled` is false."""

    pipeline: Pipeline
    connection: KafkaConnection
    inbox: Inbox
    source: KafkaSource
    keys: Keys
    sink: HttpSink
    dead_letters: TopicWriter[Rejection]
    parking: TopicWriter[Row]
    tracing: TraceParts | None


def assemble(
    settings: Settings,
    instance_id: str,
    learn_secret: Callable[[str], None],
    clock_and_random: ClockAndRandom = REAL,
) -> Parts:
    """Make every part. Nothing is opened or started yet.

    Args:
        settings: the whole configuration.
        instance_id: a name that no other running worker has.
        learn_secret: called with each key that is read while the worker runs, so that it is masked
            in log lines.
        clock_and_random: chance and time.
    """
    inbox = Inbox(clock_and_random.turn_clock)
    connection = kafka_connection(settings, f"{CLIENT_ID}-{instance_id}")
    routes = settings.resolved_routes()
    tracing = _tracing(settings, connection.client_id, instance_id, clock_and_random.uniform)
    note_write = None if tracing is None else tracing.traces.note_write
    keys = _keys(settings, learn_secret, inbox)
    return Parts(
        pipeline=make_pipeline(settings, routes, clock_and_random.uniform),
        connection=connection,
        inbox=inbox,
        source=KafkaSource(
            connection,
            source_options(settings),
            inbox.post,
            inbox.drained,
            clock_and_random.unix_time,
        ),
        keys=keys,
        sink=HttpSink(_sink_options(settings), keys.key),
        dead_letters=dead_letter_writer(
            connection, _dead_letter_topics(routes), __version__, inbox.post, note_write
        ),
        parking=parking_writer(
            connection,
            _parking_topics(routes),
            settings.appmetrica.applications,
            inbox.post,
            note_write,
        ),
        tracing=tracing,
    )


def _dead_letter_topics(routes: tuple[ResolvedRoute, ...]) -> dict[str, str]:
    return {route.topic: route.dead_letter.topic for route in routes}


def _parking_topics(routes: tuple[ResolvedRoute, ...]) -> dict[str, str]:
    return {route.topic: route.parking_topic for route in routes if route.parking_topic is not None}


def _keys(settings: Settings, learn_secret: Callable[[str], None], inbox: Inbox) -> Keys:
    applications = settings.appmetrica.applications
    return Keys(
        {application_id: Secret(one.key) for application_id, one in applications.items()},
        {
            number: one.post_api_key_file
            for number, one in applications.items()
            if one.post_api_key_file is not None
        },
        learn_secret,
        inbox.post,
    )


def admin_credentials(admin: Admin, learn_secret: Callable[[str], None]) -> AdminCredentials:
    """Make the credentials of the admin port.

    Args:
        admin: the settings of the port.
        learn_secret: called with each token that is read while the worker runs.
    """
    token = Secret(admin.token.get_secret_value()) if admin.token is not None else None
    return AdminCredentials(token, admin.token_file, admin.tls_files(), learn_secret)


def _tracing(
    settings: Settings, client_id: str, instance_id: str, uniform: Callable[[], float]
) -> TraceParts | None:
    if not settings.tracing.enabled:
        return None
    # Only here: without traces, nothing of the extra is imported.
    from worker.edges.telemetry.trace_export import ExportOptions, SpanExport
    from worker.edges.telemetry.traces import TraceOptions, Traces

    tracing = settings.tracing
    export = SpanExport(
        ExportOptions(
            endpoint=tracing.spans_url(),
            headers=tracing.plain_headers(),
            timeout_seconds=tracing.timeout_seconds,
            instance_id=instance_id,
            version=__version__,
        )
    )
    traces = Traces(
        TraceOptions(
            base_url=str(settings.appmetrica.base_url),
            form=RequestForm(settings.delivery.request),
            group_id=settings.kafka.group_id,
            client_id=client_id,
            sample_ratio=tracing.sample_ratio,
        ),
        export.tracer(),
        uniform,
    )
    return TraceParts(traces, export)


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
        ca_file=api.ssl_ca_file,
    )
