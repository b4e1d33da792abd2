"""The options of the Kafka clients, from the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping

from worker.core.dedup.key_memory import remembered_at_least
from worker.core.wire import commit_metadata
from worker.edges.kafka.client import KafkaConnection, KafkaSecurity, Secret
from worker.edges.kafka.membership import SourceOptions
from worker.edges.kafka.receiver import PollOptions
from worker.edges.kafka.token_sources import TokenCommand, TokenEndpoint, TokenFile
from worker.edges.kafka.tokens import TokenProvider, TokenSource
from worker.edges.kafka.window_rebuild import TailOptions
from worker.settings.layers import ENVIRONMENT_PREFIX
from worker.settings.routing import ResolvedRoute
from worker.settings.sasl_oauth import SaslOauth
from worker.settings.schema import Settings

# The Kafka client fetches records ahead. The shares of `memory_bytes_max`: all fetched records, one
# answer of a broker, and the part of an answer for one partition. They are in addition to that
# memory: the allowance for the interpreter covers them.
FETCHED_IN_MEMORY, ANSWERS_IN_MEMORY, FETCHES_IN_MEMORY = 8, 32, 512
# An expanded record batch is held twice while its records are taken out.
BATCHES_IN_MEMORY = 4


def kafka_connection(settings: Settings, client_id: str) -> KafkaConnection:
    """Return the connection of a client with this id, the same for the worker and the tools."""
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
            token_provider=TokenProvider(_token_source(kafka.sasl_oauth, os.environ))
            if kafka.sasl_oauth is not None
            else None,
            ca_file=kafka.ssl_ca_file,
            certificate_file=kafka.ssl_certificate_file,
            key_file=kafka.ssl_key_file,
            key_password=Secret(kafka.ssl_key_password.get_secret_value())
            if kafka.ssl_key_password is not None
            else None,
        ),
    )


def _token_source(oauth: SaslOauth, environment: Mapping[str, str]) -> TokenSource:
    if oauth.token_file is not None:
        return TokenFile(oauth.token_file)
    if oauth.token_command is not None:
        # The worker's own variables may be secrets, which the program must not get.
        own = {
            name: value
            for name, value in environment.items()
            if not name.startswith(ENVIRONMENT_PREFIX)
        }
        return TokenCommand(oauth.token_command, own)
    if oauth.token_endpoint is None or oauth.client_id is None or oauth.client_secret is None:
        raise AssertionError("validated: a token has a source, and an endpoint has a client")
    return TokenEndpoint(
        str(oauth.token_endpoint),
        oauth.client_id,
        oauth.client_secret.get_secret_value(),
        oauth.scope,
        oauth.ssl_ca_file,
    )


def batch_bytes_max(settings: Settings) -> int:
    """Return the size to which a record batch may expand, in the worker and in the tools."""
    return min(
        settings.kafka.batch_bytes_max, settings.limits.memory_bytes_max // BATCHES_IN_MEMORY
    )


def source_options(settings: Settings) -> SourceOptions:
    """Return the options of the source: topics, group, bounds of what is fetched."""
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
        tail=_tail_options(settings, routes),
        naming={
            route.topic: frozenset(filter(None, (route.dead_letter.topic, route.parking_topic)))
            for route in routes
        },
        poll=PollOptions(
            kafka.poll_records_max,
            kafka.on_corrupt == "skip",
            kafka.stall_seconds,
            settings.limits.memory_bytes_max // FETCHED_IN_MEMORY,
        ),
    )


def _tail_options(settings: Settings, routes: tuple[ResolvedRoute, ...]) -> TailOptions:
    return TailOptions(
        records_max=settings.dedup.rebuild_records_max,
        rows_max={route.topic: _rows_restored(settings, route) for route in routes},
        seconds_max=settings.dedup.rebuild_seconds_max,
        age_seconds=max(route.dedup.window_seconds for route in routes),
        end=commit_metadata.end,
    )


def _rows_restored(settings: Settings, route: ResolvedRoute) -> int:
    """Return how many rows of a topic its window certainly has room for.

    Reading more rows of the tails of its partitions would be useless.
    """
    # An equal share. A parking topic has a quarter of its route's share, because it holds only the
    # records of applications on hold.
    quarters = 1 if route.parked_from is not None else 4 if route.parking_topic is None else 3
    share = settings.dedup.window_rows_max // len(settings.routes) * quarters // 4
    return remembered_at_least(max(1, min(share, route.dedup.window_rows_max)))
