"""The admin port: `/metrics`, `/livez`, `/readyz`, `/status`, and the page for people at `/`.

`/debug/stacks` is there where the settings switch it on.

Liveness says that the event loop turns, and nothing about the broker, the API or the lag:
restarting a healthy worker because the API is down would only add duplicates.

Readiness says that the worker is a member of its group and not stopping; it needs no partitions.
Nobody sends requests to a worker: readiness only decides whether a rollout continues. With a
configuration that reaches no brokers, or a group that another program holds, a rollout must stop at
the first pod, while the others still work.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from worker.edges.telemetry.admin_access import SECURITY_HEADERS, UNCHECKED_PATHS, HostCheck
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status_page import StatusPage
from worker.errors import UnavailableError

# A scrape or a probe sends one small request.
REQUEST_BYTES_MAX = 16 * 1024
# A connection serves one request and lasts no longer: a slower client reads no metrics either.
CONNECTION_SECONDS_MAX = 10.0
# Connections at once; for a further one the oldest is closed. A probe needs its connection for
# milliseconds, and an idle connection is soon the oldest.
CONNECTIONS_MAX = 100
EVERYWHERE = "::"
# A larger body is compressed in a thread: it must not delay the event loop.
COMPRESSED_AT_ONCE_BYTES_MAX = 16 * 1024
# Source: RFC 9110, section 12.4.2.
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
OPENMETRICS = "application/openmetrics-text"
# The errors of a machine without IPv6, in its kernel or switched off by its administrator.
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


def listen_everywhere(
    port: int, create: Callable[..., socket.socket] = socket.create_server
) -> socket.socket:
    """Open a socket for all addresses: of both families, or of IPv4 where there is no IPv6.

    Raises:
        OSError: the port is not available.
    """
    try:
        return create((EVERYWHERE, port), family=socket.AF_INET6, dualstack_ipv6=True)
    except ValueError:
        # The standard library's answer where no socket can serve both families.
        pass
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
    return create(("0.0.0.0", port), family=socket.AF_INET)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the admin port answers.

    Attributes:
        registry: the metrics of `/metrics`.
        status: the answer of `/status`.
        page: the document of the page at `/`.
        unready: why `/readyz` answers 503; None while the worker is ready.
        remark: lines for people that `/readyz` adds to "ready".
        stacks: the answer of `/debug/stacks`; None where it is switched off.
    """

    registry: CollectorRegistry
    status: Callable[[], Mapping[str, object]]
    page: Callable[[], Mapping[str, object]]
    unready: Callable[[], str | None]
    remark: Callable[[], str] = str
    stacks: Callable[[], Mapping[str, object]] | None = None


class AdminServer:
    """Serves the admin port.

    Args:
        host: where to listen; `::` means every address, of IPv4 as well.
        port: 0 takes a free port; the attribute `port` has its number.
        answers: what is served.
        allowed_hosts: names under which the page and `/status` are answered, see `HostCheck`.
    """

    def __init__(
        self, host: str, port: int, answers: Answers, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self._host = host
        self._port = port
        self._answers = answers
        self._host_check = HostCheck(allowed_hosts)
        application = web.Application(
            client_max_size=REQUEST_BYTES_MAX, middlewares=[_one_request, self._check_host]
        )
        application.on_response_prepare.append(_add_security_headers)
        application.add_routes(
            [
                web.get("/metrics", self._serve_metrics),
                web.get("/livez", self._serve_livez),
                web.get("/readyz", self._serve_readyz),
                web.get("/status", _serve_json(answers.status)),
                *StatusPage(answers.page).routes(),
            ]
        )
        if answers.stacks is not None:
            application.add_routes([web.get("/debug/stacks", _serve_json(answers.stacks))])
        self._runner = web.AppRunner(application, access_log=None)
        self._listening: asyncio.Server | None = None
        self._latest: deque[web.RequestHandler] = deque()

    @property
    def port(self) -> int:
        """The port on which the started server listens."""
        if self._listening is None:
            raise RuntimeError("the admin port is not open")
        return int(self._listening.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: the port is not available.
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
            host = f"[{self._host}]" if ":" in self._host else self._host
            raise UnavailableError(
                f"cannot listen on {host}:{self._port} ({error.strerror}); "
                "set admin.host or admin.port"
            ) from None

    async def stop(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        """Accept a connection, within bounds on number and time, which aiohttp doesn't have."""
        if self._runner.server is None:
            raise RuntimeError("the admin port is not open")
        handler = self._runner.server()
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS_MAX, _abort, handler)
        self._latest.append(handler)
        if len(self._latest) > CONNECTIONS_MAX:
            _abort(self._latest.popleft())
        return handler

    @web.middleware
    async def _check_host(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse names that a stranger may own, see `admin_access`."""
        host = request.headers.get("Host")
        if request.path in UNCHECKED_PATHS or self._host_check.is_allowed(host):
            return await handler(request)
        raise web.HTTPMisdirectedRequest(
            text="This worker does not answer under this name. Use its address, or add the name "
            "to admin.allowed_hosts.\n"
        )

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        """Answer in OpenMetrics where the client accepts it, else in Prometheus's text format."""
        accepted = _weights(request.headers.get("Accept", ""))
        is_open = accepted.get(OPENMETRICS, 0.0) > accepted.get("text/plain", 0.0)
        # Only the name: the library fails at a version that is not a number.
        encode, content_type = choose_encoder(OPENMETRICS if is_open else "")
        response = web.Response(
            body=encode(self._answers.registry),
            headers={"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"},
            zlib_executor_size=COMPRESSED_AT_ONCE_BYTES_MAX,
        )
        if _weights(request.headers.get("Accept-Encoding", "")).get("gzip", 0.0) > 0.0:
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def _serve_livez(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _serve_readyz(self, _: web.Request) -> web.Response:
        reason = self._answers.unready()
        if reason is None:
            return web.Response(text=f"ready\n{self._answers.remark()}")
        return web.Response(status=503, text=f"not ready: {reason}\n")


def _serve_json(document: Callable[[], Mapping[str, object]]) -> Handler:
    """Return a handler that answers this document."""

    async def serve(_: web.Request) -> web.Response:
        body = orjson.dumps(plain(document()), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        return web.Response(body=body, content_type="application/json")

    return serve


async def _add_security_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_HEADERS)


def _weights(header: str) -> dict[str, float]:
    """Return the values that an `Accept` header names, each with its weight `q`."""
    weights: dict[str, float] = {}
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        weights[name] = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
    return weights


def _abort(handler: web.RequestHandler) -> None:
    """Close the handler's connection, if it is still open."""
    if handler.transport is not None:
        handler.transport.abort()


@web.middleware
async def _one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Close the connection after each answer."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response
