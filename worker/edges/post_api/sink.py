"""Posts batches to the API, and returns the answer without ever showing the key.

The key travels in the query string, so every URL is a secret. aiohttp's exceptions hold URLs: none
of them leaves this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from urllib.parse import quote

import aiohttp
from yarl import URL

from worker.core.model.answer import Ambiguous, Answer, NotSent, Response, TransportFault
from worker.core.model.batch import Batch, RequestForm
from worker.core.wire.http_date import unix_seconds_of
from worker.edges.post_api.answer_head import HEADERS_MAX, LINE_BYTES_MAX, AnswerHead
from worker.edges.post_api.connections import Exchange, QuietConnector, Upload
from worker.edges.post_api.reachability import proxy_passwords, verifying
from worker.edges.telemetry.redaction import Redactor

EXCERPT_CHARACTERS_MAX = 500
BODY_READ_BYTES_MAX = 64 * 1024
# How long settled rows wait for the body, so that the connection can be used again: a new
# connection would take longer than most bodies.
BODY_READ_SECONDS_MAX = 1.0
# Many servers close idle connections after 5 s; aiohttp's default of 15 s would run into resets.
KEEPALIVE_SECONDS = 4.0

HEADERS = {"Accept-Encoding": "identity"}
CONTENT_TYPE = {"Content-Type": "text/csv; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """Where to post, how, and how long to wait.

    `trusts_environment`: proxies from environment variables are used. `ca_file`: whose
    certificates are trusted; None: those of the system.
    """

    base_url: str
    requests_in_flight_max: int
    connect_timeout_seconds: float
    read_timeout_seconds: float
    total_timeout_seconds: float
    trusts_environment: bool
    user_agent: str
    form: RequestForm = RequestForm.BODY
    ca_file: Path | None = None


Request = Callable[[aiohttp.ClientSession, Exchange], Awaitable[Answer]]


class HttpSink:
    """The connections to the API, an async context manager; many tasks may call `post` at once.

    Args:
        options: where and how to post.
        key: returns the key of an application; called for each request.
    """

    def __init__(self, options: SinkOptions, key: Callable[[int], str]) -> None:
        self._options = options
        self._key = key
        self._session: aiohttp.ClientSession | None = None
        self._passwords = proxy_passwords() if options.trusts_environment else []

    async def __aenter__(self) -> HttpSink:
        options = self._options
        self._connector = QuietConnector(
            limit=options.requests_in_flight_max,
            keepalive_timeout=KEEPALIVE_SECONDS,
            verifying=verifying(options.ca_file),
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=options.trusts_environment,
            headers=HEADERS | {"User-Agent": options.user_agent},
            auto_decompress=False,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, batch: Batch, time_factor: int = 1) -> Answer:
        """Send the batch once. Every failure is an answer; redirects are not followed.

        Args:
            batch: what to send.
            time_factor: multiplies the time that the API may be silent and the request may take.
        """
        timeout = self._timeout(time_factor)
        return await self._answer(
            lambda session, exchange: self._post(session, batch, exchange, timeout)
        )

    async def ask_time(self) -> Answer:
        """Ask for the date of an answer, without a key and without an event."""
        return await self._answer(self._ask_time)

    async def _answer(self, request: Request) -> Answer:
        if self._session is None:
            raise RuntimeError("the sink is not open")
        clock = asyncio.get_running_loop().time
        started = clock()
        exchange = Exchange(self._connector)
        try:
            return await request(self._session, exchange)
        except (aiohttp.ClientError, OSError) as error:
            answer = _answer_to(error, exchange, clock() - started)
            # aiohttp keeps an error in a frame that the error keeps, and with it the body, until
            # the garbage collector runs. It runs after many allocations, and an outage makes none.
            clear_frames(error.__traceback__)
            return answer

    async def _ask_time(self, session: aiohttp.ClientSession, exchange: Exchange) -> Answer:
        started = asyncio.get_running_loop().time()
        async with session.head(
            self._options.base_url, allow_redirects=False, middlewares=(exchange,)
        ) as response:
            duration = asyncio.get_running_loop().time() - started
            return Response(response.status, None, "", duration, _date_of(exchange.head))

    async def _post(
        self,
        session: aiohttp.ClientSession,
        batch: Batch,
        exchange: Exchange,
        timeout: aiohttp.ClientTimeout,
    ) -> Answer:
        started = asyncio.get_running_loop().time()
        key = self._key(batch.destination.application_id)
        body = batch.body()
        query, headers = f"post_api_key={quote(key, safe='')}", {"X-Request-Id": batch.id}
        data: bytes | Upload | None = None
        if self._options.form is RequestForm.PARAMS:
            query = f"{query}&{body.decode()}"
        else:
            data = exchange.body(body)
            headers |= CONTENT_TYPE | {"Content-Length": str(len(body))}
        response = await session.post(
            self._url(batch.destination.resource, query),
            data=data,
            headers=headers,
            # Without a body there is no type; aiohttp would invent one.
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
            middlewares=(exchange,),
            timeout=timeout,
        )
        try:
            duration = asyncio.get_running_loop().time() - started
            return await _answer_in(response, exchange, duration, (key, *self._passwords))
        finally:
            # Not `async with`: its exit waits for the upload, and would turn a reset after the
            # status into a failure.
            response.release()

    def _timeout(self, time_factor: int) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=self._options.total_timeout_seconds * time_factor,
            connect=self._options.connect_timeout_seconds,
            sock_connect=self._options.connect_timeout_seconds / 2,
            sock_read=self._options.read_timeout_seconds * time_factor,
        )

    def _url(self, resource: str, query: str) -> URL:
        """Return the URL of a resource.

        It is encoded here: yarl would write a space as `+`, which the API doesn't decode.
        """
        name = resource if self._options.form is RequestForm.PARAMS else f"{resource}.csv"
        address = URL(self._options.base_url).joinpath("logs/v1/import", name)
        return URL(f"{address}?{query}", encoded=True)


async def _answer_in(
    response: aiohttp.ClientResponse, exchange: Exchange, seconds: float, secrets: Sequence[str]
) -> Answer:
    """Return the answer in a response: its status, whatever happens to the rest of it."""
    if response.status == 200 and not exchange.is_uploaded:
        return Ambiguous(TransportFault.EARLY_ANSWER, seconds)
    # Read the date before the connection serves another request.
    date = _date_of(exchange.head)
    body = await _body_of(response)
    excerpt = "" if response.status == 200 else excerpt_of(body, secrets)
    return Response(response.status, response.headers.get("Retry-After"), excerpt, seconds, date)


def _answer_to(error: aiohttp.ClientError | OSError, exchange: Exchange, seconds: float) -> Answer:
    """Return the answer to a request that aiohttp gave up."""
    head = exchange.head
    if head is None:
        return NotSent(_connect_fault(error), seconds, _proxy_status(error))
    if head.status == 200 and not exchange.is_uploaded:
        return Ambiguous(TransportFault.EARLY_ANSWER, seconds)
    if head.status is not None:
        # The status line decides. A fault behind it would be the same at the next attempt.
        return Response(head.status, head.header("retry-after"), "", seconds, _date_of(head))
    if isinstance(error, TimeoutError):
        return Ambiguous(TransportFault.TIMEOUT, seconds)
    if isinstance(error, aiohttp.ClientResponseError) or head.is_too_large:
        return Ambiguous(TransportFault.BROKEN_ANSWER, seconds)
    if not exchange.is_uploaded:
        return Ambiguous(TransportFault.UPLOAD_RESET, seconds)
    return Ambiguous(TransportFault.CONNECTION_LOST, seconds)


def _date_of(head: AnswerHead | None) -> float | None:
    """Return the server's time, by its `Date`.

    An answer with an age was made some time ago and kept by a cache.
    """
    return (
        unix_seconds_of(head.header("date"))
        if head is not None and head.header("age") is None
        else None
    )


def _connect_fault(error: aiohttp.ClientError | OSError) -> TransportFault:
    """Return why there was no connection. In every case nothing was sent."""
    if isinstance(error, aiohttp.ClientSSLError):
        return TransportFault.TLS_FAILED
    if isinstance(error, TimeoutError):
        return TransportFault.CONNECT_TIMEOUT
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TransportFault.PROXY_REFUSED
    return TransportFault.CONNECT_FAILED


def _proxy_status(error: aiohttp.ClientError | OSError) -> int | None:
    """Return the status with which a proxy refused CONNECT."""
    return error.status if isinstance(error, aiohttp.ClientHttpProxyError) else None


def excerpt_of(body: bytes, secrets: Iterable[str]) -> str:
    """Return the start of the API's text, as one line.

    It may repeat the URL, or a proxy's login, so these are masked before the text is cut: half a
    key is too much.
    """
    text = Redactor(secrets).redact(body.decode("utf-8", errors="replace"))
    return " ".join(text.split())[:EXCERPT_CHARACTERS_MAX]


async def _body_of(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or as much as comes soon.

    A connection is only used again after its answer was read to the end.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_READ_SECONDS_MAX):
            while len(body) < BODY_READ_BYTES_MAX and not response.content.at_eof():
                body += await response.content.readany()
    except (aiohttp.ClientError, OSError):
        # A part of the body is enough: the status is known.
        pass
    return bytes(body)
