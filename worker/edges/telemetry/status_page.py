"""The page for people at `/`: its files, and the document that it reads every two seconds.

Whoever opens the page asks the worker to look at itself. So the document is built at most once a
second, however many pages are open, and its lists are cut: the page of a worker with a thousand
partitions costs as much as that of a worker with a hundred. Without an open page nothing of this
is computed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from heapq import nsmallest
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from worker.core.counters.history import totals_of
from worker.edges.telemetry.reading import PartitionReading, Reading
from worker.edges.telemetry.redaction import plain
from worker.edges.telemetry.status import STATUS
from worker.edges.telemetry.status_objects import PARTITION, object_of

DIRECTORY = Path(__file__).with_name("page")
CONTENT_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# A document is served for this time before a new one is built: with 1,000 partitions 4 ms of work
# and 31 KB.
DOCUMENT_SECONDS = 1.0
PARTITIONS_MAX = 100
# What a table cell of an error or of a partition's trouble holds.
CHARACTERS_MAX = 500
# Keys of `/status` that the page doesn't read, or reads in a shorter form.
_LEFT_OUT = frozenset(
    {
        "partitions",
        "partitions_in_trouble",
        "holds",
        "throttled_applications",
        "topics",
        "last_errors",
    }
)


def page_document(reading: Reading) -> dict[str, object]:
    """Return the document of the page: `/status` with shorter lists, and the history."""
    document = object_of((key for key in STATUS if key.name not in _LEFT_OUT), reading)
    counters = reading.snapshot.counters
    dead_lettered: Counter[str] = Counter()
    for topic in counters.topics.values():
        dead_lettered.update({reason.value: n for reason, n in topic.dead_lettered.items()})
    return document | {
        "partitions": _partitions(reading),
        "dead_letters": dict(dead_lettered.most_common()),
        "totals": asdict(totals_of(counters)),
        "last_errors": [_error(line) for line in reversed(reading.logs.latest())],
        "history": asdict(reading.history.series(reading.monotonic_seconds)),
    }


def _partitions(reading: Reading) -> list[dict[str, object]]:
    """Return the partitions in trouble, then those with the largest lag."""
    troubles = {str(place): detail for place, detail in reading.partition_errors.items()}

    def rank(one: PartitionReading) -> tuple[bool, bool, int]:
        place = f"{one.status.assignment.topic}-{one.status.assignment.partition}"
        return place not in troubles, not one.status.is_draining, -(one.lag_records or 0)

    shown: list[dict[str, object]] = []
    for one in nsmallest(PARTITIONS_MAX, reading.partitions, key=rank):
        row = object_of(PARTITION, one)
        trouble = troubles.pop(f"{row['topic']}-{row['partition']}", None)
        shown.append(row | {"trouble": None if trouble is None else trouble[:CHARACTERS_MAX]})
    # Partitions that can't begin are assigned, but have no position yet.
    unstarted = [
        {"topic": place.topic, "partition": place.partition, "trouble": detail[:CHARACTERS_MAX]}
        for place, detail in reading.partition_errors.items()
        if str(place) in troubles
    ]
    return (unstarted + shown)[:PARTITIONS_MAX]


def _error(line: Mapping[str, object]) -> dict[str, object]:
    """Return a log line with what to do, and its fields as one text."""
    named = ("ts", "level", "event", "logger", "action")
    fields = " ".join(f"{name}={line[name]}" for name in line if name not in named)
    shown = {name: str(line.get(name, ""))[:CHARACTERS_MAX] for name in named}
    return {**shown, "fields": fields[:CHARACTERS_MAX]}


class StatusPage:
    """Serves the page.

    Args:
        document: builds the document.
    """

    def __init__(self, document: Callable[[], Mapping[str, object]]) -> None:
        self._document = document
        self._built: tuple[float, bytes] | None = None
        self._files = {
            path.name: (path.read_bytes(), CONTENT_TYPES[path.suffix])
            for path in DIRECTORY.iterdir()
            if path.suffix in CONTENT_TYPES
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the page's routes. Its links are relative: a proxy may put it below a path."""
        return [
            web.get("/", self._serve_page),
            web.get("/page/status", self._serve_document),
            web.get("/page/{name}", self._serve_file),
        ]

    async def _serve_page(self, request: web.Request) -> web.Response:
        return self._file(request, "index.html")

    async def _serve_file(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    def _file(self, request: web.Request, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        body, content_type = self._files[name]
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        # Asked each time, answered with a few bytes: after an update no old script meets a new
        # document.
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    async def _serve_document(self, _: web.Request) -> web.Response:
        now = asyncio.get_running_loop().time()
        if self._built is None or now - self._built[0] >= DOCUMENT_SECONDS:
            document: Any = plain(self._document())
            self._built = now, orjson.dumps(document)
        return web.Response(
            body=self._built[1],
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
