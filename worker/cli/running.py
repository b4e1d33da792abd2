"""Runs a tool's work: how it connects, and what becomes of brokers that don't answer."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from aiokafka.errors import KafkaError

from worker.cli.output import say
from worker.core.model.record import Place
from worker.daemon.assembly import batch_bytes_max, kafka_connection
from worker.edges.kafka.aiokafka_internals.decompression import bound_decompression
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.diagnosis import explain
from worker.edges.kafka.reader import TopicReader
from worker.errors import UnavailableError
from worker.settings.schema import Settings

# Nobody waits at a terminal for as long as a worker waits for its brokers.
REQUEST_SECONDS_MAX = 15.0
# What a shell reports for a process ended by SIGINT.
INTERRUPTED = 130
# Not the worker's: a client of this name is nobody's predecessor.
CLIENT_ID = "appmetrica-worker-tool"

T = TypeVar("T")


def tool_connection(settings: Settings) -> KafkaConnection:
    """As the worker connects, under a name of its own."""
    connection = kafka_connection(settings, CLIENT_ID)
    return replace(
        connection,
        request_timeout_seconds=min(connection.request_timeout_seconds, REQUEST_SECONDS_MAX),
    )


def tool_reader(settings: Settings) -> TopicReader:
    """Reads topics as tools do: what can't be read is passed over, and said."""
    return TopicReader(tool_connection(settings), on_damage=_say_damage)


def _say_damage(place: Place, detail: str) -> None:
    say(
        f"{place.topic} {place.partition} {place.offset} can't be read and is passed over: {detail}"
    )


def run_tool(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Do it; returns what it returns.

    Raises:
        UnavailableError: the brokers can't be reached, or refuse.
    """
    bound_decompression(batch_bytes_max(settings))
    # What the client library has to say comes as an error, and is said once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (KafkaError, TimeoutError) as error:
        servers = ", ".join(settings.kafka.bootstrap_servers)
        detail = asyncio.run(explain(tool_connection(settings), error))
        raise UnavailableError(
            f"Kafka at {servers} can't be reached or refuses the request: {detail}"
        ) from None
