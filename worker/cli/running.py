"""Runs a tool: its times, its connection, and brokers that can't be reached."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from aiokafka.errors import KafkaError

from worker.cli.output import say
from worker.core.model.record import Place
from worker.daemon.kafka_options import batch_bytes_max, kafka_connection
from worker.edges.kafka.aiokafka_internals.decompression import bound_decompression
from worker.edges.kafka.client import KafkaConnection
from worker.edges.kafka.diagnosis import explain
from worker.edges.kafka.reader import TopicReader
from worker.errors import UnavailableError
from worker.settings.schema import Settings

# A person at a terminal waits for brokers less long than a worker does.
REQUEST_SECONDS_MAX = 15.0
# Differs from a worker's client id, so that no starting worker removes a tool from the group.
CLIENT_ID = "appmetrica-worker-tool"

_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIX = re.compile(r"[0-9]{9,11}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

T = TypeVar("T")


class FiniteRange(click.FloatRange):
    """A number within bounds. click's own type accepts NaN, which is within any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number.

        Raises:
            click.BadParameter: the text is no finite number, or out of bounds.
        """
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def unix_milliseconds(text: str) -> int:
    """Parse a date, a time, Unix seconds or an age. A time without a zone is UTC.

    Raises:
        click.BadParameter: the text is none of these.
    """
    if (age := _AGO.fullmatch(text)) is not None:
        return round((time.time() - int(age[1]) * _SECONDS[age[2]]) * 1000)
    if _UNIX.fullmatch(text):
        return int(text) * 1000
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-11-25, 2026-11-25T10:00, Unix seconds, or an "
            "age such as 30m, 2h or 7d"
        ) from None
    return round(
        (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp() * 1000
    )


def tool_connection(settings: Settings) -> KafkaConnection:
    """The worker's connection, under a client id of its own and with a shorter time-out."""
    connection = kafka_connection(settings, CLIENT_ID)
    return replace(
        connection,
        request_timeout_seconds=min(connection.request_timeout_seconds, REQUEST_SECONDS_MAX),
    )


def tool_reader(settings: Settings) -> TopicReader:
    """A reader that skips unreadable records and reports them on stderr."""
    return TopicReader(tool_connection(settings), on_damage=_say_damage)


def _say_damage(place: Place, detail: str) -> None:
    say(f"{place.topic} {place.partition} {place.offset} is unreadable and is skipped: {detail}")


def run_tool(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run a tool's coroutine and return its result.

    Raises:
        UnavailableError: the brokers can't be reached or refuse a request.
    """
    bound_decompression(batch_bytes_max(settings))
    # The client library logs what it also raises.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except (KafkaError, TimeoutError) as error:
        servers = ", ".join(settings.kafka.bootstrap_servers)
        detail = asyncio.run(explain(tool_connection(settings), error))
        raise UnavailableError(
            f"Kafka at {servers} can't be reached or refuses the request: {detail}"
        ) from None
