"""The admin port: `/metrics`, `/livez`, `/readyz`, `/status`.

Liveness says that the loop turns, and nothing about the broker, the API or the lag: restarting a healthy worker because the API
is down would only add duplicates. Readiness says that it is assembled and not stopping; it needs no partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from worker.errors import UnavailableError
from worker.model.record import Assignment
from worker.model.snapshot import Snapshot

# A scrape or a probe asks for one small page; whoever sends more or slower isn't one.
REQUEST_BYTES_MAX = 16 * 1024
KEEPALIVE_SECONDS = 75.0


class AdminServer:
    """Serves the admin port.

    Args:
        host, port: where; port 0 takes a free one (`port` tells which).
        registry: what `/metrics` shows.
        status: what `/status` shows.
        is_ready: what `/readyz` says.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], Mapping[str, object]],
        is_ready: Callable[[], bool],
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._status = status
        self._is_ready = is_ready
        application = web.Application(client_max_size=REQUEST_BYTES_MAX)
        application.add_routes(
            [
                web.get("/metrics", self._serve_metrics),
                web.get("/livez", self._serve_livez),
                web.get("/readyz", self._serve_readyz),
                web.get("/status", self._serve_status),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, keepalive_timeout=KEEPALIVE_SECONDS)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the port can't be had.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._port}"
            raise UnavailableError(f"cannot listen on {where} ({error.strerror}); set admin.host or admin.port") from None

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _serve_livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _serve_readyz(self, _: web.Request) -> web.Response:
        if self._is_ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready: starting or stopping\n")

    async def _serve_status(self, _: web.Request) -> web.Response:
        body = orjson.dumps(self._status(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        return web.Response(body=body, content_type="application/json")


def status_of(snapshot: Snapshot, ends: Mapping[Assignment, int], unix_seconds: float) -> dict[str, object]:
    """`/status` as data: partitions with their lag, holds, what is held where, the account of each topic."""
    return {
        "time_unix_seconds": unix_seconds,
        "is_stopping": snapshot.is_stopping,
        "dead_letter_topic_is_blocked": snapshot.is_dead_letter_blocked,
        "parking_topic_is_blocked": snapshot.is_parking_blocked,
        "partitions": [
            {
                "topic": one.assignment.topic,
                "partition": one.assignment.partition,
                "epoch": one.assignment.epoch,
                "position": one.position,
                "safe_position": one.safe_position,
                "committed": one.committed,
                "unsettled_records": one.unsettled,
                "lag_records": max(0, ends[one.assignment] - one.safe_position) if one.assignment in ends else None,
                "is_paused": one.is_paused,
                "is_draining": one.is_draining,
            }
            for one in snapshot.partitions
        ],
        "holds": [asdict(hold) for hold in snapshot.holds],
        "records_held": snapshot.rows,
        "held_bytes": snapshot.held_bytes,
        "destination": asdict(snapshot.destination),
        "dedup_window_rows": snapshot.dedup_window_rows,
        "oldest_unsettled_event_timestamp_seconds": snapshot.oldest_event_timestamp,
        "accounting_imbalance_records": snapshot.imbalance,
        "topics": {
            topic: {
                "consumed": account.consumed,
                "delivered": account.delivered,
                "duplicates": account.duplicates,
                "dead_lettered": {reason.value: count for reason, count in account.dead_lettered.items()},
                "parked": account.parked,
                "given_back": account.given_back,
                "offsets_skipped": account.offsets_skipped,
                "unusual_values": dict(account.remarks.unusual_values),
                "drifts": [{**drift._asdict(), "records": count} for drift, count in account.remarks.drifts.most_common()],
            }
            for topic, account in snapshot.account.topics.items()
        },
        "requests": dict(snapshot.account.requests),
        "retries": dict(snapshot.account.retries),
        "commits": dict(snapshot.account.commits),
        "last_delivery_timestamp_seconds": snapshot.account.last_delivery_unix_seconds,
        "last_commit_timestamp_seconds": snapshot.account.last_commit_unix_seconds,
    }
