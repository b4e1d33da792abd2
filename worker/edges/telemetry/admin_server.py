"""The admin port: `/metrics`, `/livez`, `/readyz`, `/status`.

Liveness says that the loop turns, and nothing about the broker, the API or the lag: restarting a
healthy worker because the API is down would only add duplicates.

Readiness says that it is a member of its group and not stopping; it needs no partitions. Nobody
sends requests to a worker: what readiness decides is whether a rollout goes on. With a
configuration that reaches no brokers, or a group that another program holds, it must stop at the
first pod, while the others still work.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from worker.core.counters.snapshot import PartitionStatus, Snapshot
from worker.core.model.record import Assignment, End
from worker.edges.telemetry.plain_values import plain
from worker.errors import UnavailableError

# A scrape or a probe asks for one small page; whoever sends more or slower isn't one.
REQUEST_BYTES_MAX = 16 * 1024
# Each connection is for one request, and lasts so long at most: who is slower than that reads no
# metrics either.
CONNECTION_SECONDS_MAX = 10.0
# So many at once; for one more, the oldest is closed. A probe needs its own for milliseconds, an
# idle one is the oldest soon.
CONNECTIONS_MAX = 100
EVERYWHERE = "::"
# What a machine without IPv6 says, whether its kernel doesn't have it or its administrator has
# switched it off.
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def listen_everywhere(
    port: int, create: Callable[..., socket.socket] = socket.create_server
) -> socket.socket:
    """A socket for all addresses of this machine: of both families, or of IPv4 alone where there is
    no IPv6.

    Raises:
        OSError: the port can't be had.
    """
    if socket.has_dualstack_ipv6():
        try:
            return create((EVERYWHERE, port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return create(("0.0.0.0", port), family=socket.AF_INET)


class AdminServer:
    """Serves the admin port.

    Args:
        host, port: where; `::` is every address, of IPv4 as well; port 0 takes a free one (`port`
            tells which).
        registry: what `/metrics` shows.
        status: what `/status` shows.
        unready: why `/readyz` says no; None: it says yes.
        remark: what it says besides, when ready: lines for people.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], Mapping[str, object]],
        unready: Callable[[], str | None],
        remark: Callable[[], str] = str,
    ) -> None:
        self._host = host
        self._port = port
        self._registry = registry
        self._status = status
        self._unready = unready
        self._remark = remark
        application = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[_one_request])
        application.add_routes(
            [
                web.get("/metrics", self._serve_metrics),
                web.get("/livez", self._serve_livez),
                web.get("/readyz", self._serve_readyz),
                web.get("/status", self._serve_status),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        self._listening: asyncio.Server | None = None
        self._latest: deque[web.RequestHandler] = deque()

    @property
    def port(self) -> int:
        """The port it listens on; it must have been started."""
        if self._listening is None:
            raise RuntimeError("the admin port is not open")
        return int(self._listening.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the port can't be had.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            if self._host == EVERYWHERE:
                self._listening = await loop.create_server(
                    self._accept, sock=listen_everywhere(self._port)
                )
            else:
                self._listening = await loop.create_server(self._accept, self._host, self._port)
        except OSError as error:
            await self._runner.cleanup()
            where = (
                f"[{self._host}]:{self._port}"
                if ":" in self._host
                else f"{self._host}:{self._port}"
            )
            raise UnavailableError(
                f"cannot listen on {where} ({error.strerror}); set admin.host or admin.port"
            ) from None

    async def stop(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        """A connection comes in: aiohttp bounds neither their number nor how long one may take to
        say what it wants.
        """
        if self._runner.server is None:
            raise RuntimeError("the admin port is not open")
        handler = self._runner.server()
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS_MAX, _abort, handler)
        self._latest.append(handler)
        if len(self._latest) > CONNECTIONS_MAX:
            _abort(self._latest.popleft())
        return handler

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _serve_livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _serve_readyz(self, _: web.Request) -> web.Response:
        reason = self._unready()
        if reason is None:
            return web.Response(text=f"ready\n{self._remark()}")
        return web.Response(status=503, text=f"not ready: {reason}\n")

    async def _serve_status(self, _: web.Request) -> web.Response:
        body = orjson.dumps(
            plain(self._status()), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
        )
        return web.Response(body=body, content_type="application/json")


def _abort(handler: web.RequestHandler) -> None:
    """Close its connection, if it is still there."""
    if handler.transport is not None:
        handler.transport.abort()


@web.middleware
async def _one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer ends its connection."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response


def status_of(
    snapshot: Snapshot, ends: Mapping[Assignment, End], unix_seconds: float
) -> dict[str, object]:
    """`/status` as data: partitions with their lag, holds, what is held where, the account of each
    topic.
    """
    return {
        "time_unix_seconds": unix_seconds,
        "is_stopping": snapshot.is_stopping,
        "dead_letter_topic_is_blocked": snapshot.is_dead_letter_blocked,
        "parking_topic_is_blocked": snapshot.is_parking_blocked,
        "partitions": [
            _partition(one, ends.get(one.assignment), unix_seconds) for one in snapshot.partitions
        ],
        "holds": [asdict(hold) for hold in snapshot.holds],
        "throttled_applications": [asdict(throttle) for throttle in snapshot.throttles],
        "records_held": snapshot.rows,
        "held_bytes": snapshot.held_bytes,
        "destination": asdict(snapshot.destination),
        "clock": asdict(snapshot.clock),
        "dedup_window_rows": snapshot.dedup_window_rows,
        "oldest_unsettled_event_timestamp_seconds": snapshot.oldest_event_timestamp,
        "accounting_imbalance_records": snapshot.imbalance,
        "topics": {
            topic: {
                "consumed": account.consumed,
                "delivered": account.delivered,
                "duplicates": account.duplicates,
                "dead_lettered": {
                    reason.value: count for reason, count in account.dead_lettered.items()
                },
                "parked": account.parked,
                "given_back": account.given_back,
                "offsets_skipped": account.offsets_skipped,
                "log_truncations": account.log_truncations,
                "unusual_values": dict(account.remarks.unusual_values),
                "drifts": [
                    {**drift._asdict(), "records": count}
                    for drift, count in account.remarks.drifts.most_common()
                ],
            }
            for topic, account in snapshot.account.topics.items()
        },
        "requests": dict(snapshot.account.requests),
        "retries": dict(snapshot.account.retries),
        "commits": dict(snapshot.account.commits),
        "last_delivery_timestamp_seconds": snapshot.account.last_delivery_unix_seconds,
        "last_commit_timestamp_seconds": snapshot.account.last_commit_unix_seconds,
    }


def _partition(status: PartitionStatus, end: End | None, unix_seconds: float) -> dict[str, object]:
    """`end_age_seconds` is how long ago the end was told: while brokers can't be asked, the lag is
    that old as well.
    """
    topic, partition, epoch = status.assignment
    return {
        "topic": topic,
        "partition": partition,
        "epoch": epoch,
        "position": status.position,
        "safe_position": status.safe_position,
        "committed": status.committed,
        "unsettled_records": status.unsettled,
        "lag_records": max(0, end.stable - status.safe_position) if end is not None else None,
        "records_behind_transaction": end.behind_transaction if end is not None else None,
        "end_age_seconds": round(max(0.0, unix_seconds - end.unix_seconds), 1)
        if end is not None
        else None,
        "is_paused": status.is_paused,
        "is_draining": status.is_draining,
    }
