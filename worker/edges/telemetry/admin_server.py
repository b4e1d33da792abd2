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

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from worker.edges.telemetry.admin_access import (
    CHALLENGE,
    PROBE_PATHS,
    SECURITY_HEADERS,
    UNCHECKED_PATHS,
    HostCheck,
    carries_token,
)
from worker.edges.telemetry.admin_credentials import AdminCredentials
from worker.edges.telemetry.admin_listener import Address, AdminListener
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status_page import StatusPage
from worker.errors import UnavailableError
from worker.tls_files import TlsFilesError

# A scrape or a probe sends one small request.
REQUEST_BYTES_MAX = 16 * 1024
# A larger body is compressed in a thread: it must not delay the event loop.
COMPRESSED_AT_ONCE_BYTES_MAX = 16 * 1024
# Source: RFC 9110, section 12.4.2.
_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")
OPENMETRICS = "application/openmetrics-text"


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
    """Serves the admin port, and a port of its own for metrics if there is one.

    Args:
        address: where to listen; the attribute `port` has the number of the port.
        answers: what is served.
        allowed_hosts: names under which the page and `/status` are answered, see `HostCheck`.
        credentials: the token and the certificate, of both ports.
        metrics: where `/metrics` and the probes are served; None: with everything else.
    """

    def __init__(
        self,
        address: Address,
        answers: Answers,
        allowed_hosts: Iterable[str] = (),
        credentials: AdminCredentials | None = None,
        metrics: Address | None = None,
    ) -> None:
        self._answers = answers
        self._host_check = HostCheck(allowed_hosts)
        self._credentials = credentials if credentials is not None else AdminCredentials()
        probes = [web.get("/livez", self._serve_livez), web.get("/readyz", self._serve_readyz)]
        numbers = [web.get("/metrics", self._serve_metrics)]
        people = [
            web.get("/status", _serve_json(answers.status)),
            *StatusPage(answers.page).routes(),
        ]
        if answers.stacks is not None:
            people.append(web.get("/debug/stacks", _serve_json(answers.stacks)))
        self._sites = [
            _Site(address, self._runner([*probes, *people, *([] if metrics else numbers)]))
        ]
        if metrics is not None:
            self._sites.append(_Site(metrics, self._runner([*probes, *numbers])))

    @property
    def port(self) -> int:
        """The port on which the started server listens."""
        return self._sites[0].port

    @property
    def metrics_port(self) -> int:
        """The port on which the started server serves metrics."""
        return self._sites[-1].port

    @property
    def connections(self) -> int:
        """The number of open connections of the admin port."""
        return self._sites[0].connections

    async def start(self) -> None:
        """Listen.

        Raises:
            UnavailableError: a port is not available, or a file of TLS is unusable.
        """
        try:
            context = self._credentials.context()
        except TlsFilesError as error:
            raise UnavailableError(f"admin.{error.setting}: {error}") from None
        try:
            for site in self._sites:
                await site.start(context)
        except UnavailableError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening."""
        for site in self._sites:
            await site.stop()

    def _runner(self, routes: Iterable[web.AbstractRouteDef]) -> web.AppRunner:
        application = web.Application(
            client_max_size=REQUEST_BYTES_MAX,
            middlewares=[_one_request, self._check_host, self._check_token],
        )
        application.on_response_prepare.append(_add_security_headers)
        application.add_routes(routes)
        return web.AppRunner(application, access_log=None)

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

    @web.middleware
    async def _check_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests without the token, if there is one; probes need none."""
        token = self._credentials.token
        if (
            token is None
            or request.path in PROBE_PATHS
            or carries_token(request.headers.get("Authorization"), token)
        ):
            return await handler(request)
        raise web.HTTPUnauthorized(
            headers={"WWW-Authenticate": CHALLENGE},
            text="This worker answers only with its token: see admin.token in its settings.\n",
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


class _Site:
    """Routes on one address."""

    def __init__(self, address: Address, runner: web.AppRunner) -> None:
        self._address = address
        self._runner = runner
        self._listener: AdminListener | None = None

    @property
    def port(self) -> int:
        if self._listener is None:
            raise RuntimeError("the admin port is not open")
        return self._listener.port

    @property
    def connections(self) -> int:
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def start(self, context: ssl.SSLContext | None) -> None:
        await self._runner.setup()
        if self._runner.server is None:
            raise AssertionError("a runner has a server after its setup")
        listener = AdminListener(self._address, self._runner.server, context)
        await listener.start()
        self._listener = listener

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.stop()
        await self._runner.cleanup()


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
