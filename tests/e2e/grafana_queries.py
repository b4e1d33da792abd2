"""Runs the queries of a dashboard file as Grafana does: variables, intervals, range or instant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

STEP_SECONDS = 1

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """A series of a panel: its name in the legend, and its finite values by Unix seconds."""

    legend: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel with its series, by query."""

    panel: dict[str, Any]
    queries: tuple[tuple[Series, ...], ...]

    @property
    def title(self) -> str:
        """The title of the panel."""
        return str(self.panel["title"])

    @property
    def series(self) -> list[Series]:
        """The series of all queries."""
        return [one for query in self.queries for one in query]


class PrometheusApi:
    """The HTTP API of a Prometheus, for a time range."""

    def __init__(self, session: aiohttp.ClientSession, url: str, start: float, end: float) -> None:
        self._session = session
        self._url = url
        self.start = start
        self.end = end

    async def label_values(self, series: str, label: str) -> list[str]:
        """The values of a label, as Grafana's `label_values(series, label)`."""
        found = await self._get("series", {"match[]": series, "start": self.start, "end": self.end})
        return sorted({one[label] for one in found if label in one})

    async def names(self) -> set[str]:
        """The names of all metrics."""
        return set(await self._get("label/__name__/values", {}))

    async def range(self, query: str) -> list[dict[str, Any]]:
        """The series of a query in the whole time."""
        parameters: dict[str, str | float] = {"query": query, "step": STEP_SECONDS}
        parameters |= {"start": self.start, "end": self.end}
        return list((await self._get("query_range", parameters))["result"])

    async def instant(self, query: str) -> list[dict[str, Any]]:
        """The series of a query at the end."""
        found = (await self._get("query", {"query": query, "time": self.end}))["result"]
        return [{**one, "values": [one["value"]]} for one in found]

    async def _get(self, path: str, parameters: Mapping[str, str | float]) -> Any:
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
            assert response.status == 200, (parameters, answer)
            return answer["data"]


async def variables(api: PrometheusApi, board: Mapping[str, Any], chosen: Labels) -> dict[str, str]:
    """The values of all variables: as chosen, else the first of a list, else All."""
    seconds = math.ceil(api.end - api.start)
    # max($__interval + scrape interval, 4 scrape intervals)
    values = {"__rate_interval": f"{4 * STEP_SECONDS}s", "__range": f"{seconds}s"}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "query":
            query = filled(variable["query"]["query"], values)
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
            found = await api.label_values(series, label)
            # A label that no series has leaves its variable without values.
            everything = variable.get("allValue") or f"({'|'.join(map(re.escape, found))})"
            values[name] = chosen.get(name, everything)
        elif variable["type"] == "custom":
            values[name] = chosen.get(name, variable["query"].split(",")[0])
    return values


def filled(expression: str, values: Labels) -> str:
    """The expression with the values of its variables."""
    # In a string of PromQL a backslash is doubled, as Grafana does. `$1` is PromQL's own.
    return re.sub(
        r"\$([A-Za-z_]\w*)",
        lambda match: values[match.group(1)].replace("\\", "\\\\"),
        expression,
    )


async def shown(api: PrometheusApi, panel: dict[str, Any], values: Labels) -> Shown:
    """Run the queries of a panel."""
    queries = []
    for target in panel["targets"]:
        run = api.instant if target["instant"] else api.range
        found = await run(filled(target["expr"], values))
        queries.append(tuple(_series(one, target["legendFormat"]) for one in found))
    return Shown(panel, tuple(queries))


def _series(found: Mapping[str, Any], legend: str) -> Series:
    labels = found["metric"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match.group(1), ""), legend)
    points = ((float(at), float(value)) for at, value in found["values"])
    return Series(
        " ".join(name.split()), tuple((at, value) for at, value in points if math.isfinite(value))
    )
