"""Renders the chart with the engine of Helm 4, and reads what it makes as an API server would."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from tests.install.values import CHART

RELEASE, NAMESPACE = "amw", "events"
NOTES = "templates/NOTES.txt"

Values = Mapping[str, Any]
Object = dict[str, Any]


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that occurs twice in a mapping, as the API server does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


@cache
def _chart(path: Path) -> helm_python.Chart:
    return helm_python.Chart.load(path)


def rendered(values: Values, release: str = RELEASE, path: Path = CHART) -> dict[str, str]:
    """The text of each template of the chart at this path, by its path within the chart."""
    texts = _chart(path).render(dict(values), name=release, namespace=NAMESPACE, is_install=True)
    return {path.partition("/")[2]: text for path, text in texts.items()}


def objects(values: Values, release: str = RELEASE) -> list[Object]:
    """All objects, in the order of their templates."""
    texts = rendered(values, release)
    return [
        found
        for path, text in sorted(texts.items())
        if path != NOTES
        for found in yaml.load_all(text, Loader=_UniqueKeys)
        if found is not None
    ]


def one(values: Values, kind: str, name: str = "") -> Object:
    """The only object of this kind, or the one whose name ends like this."""
    found = [
        candidate
        for candidate in objects(values)
        if candidate["kind"] == kind and candidate["metadata"]["name"].endswith(name)
    ]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def pod(values: Values) -> dict[str, Any]:
    """The pod template's specification."""
    spec: dict[str, Any] = one(values, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(values: Values) -> dict[str, Any]:
    """The worker's container."""
    found: dict[str, Any] = pod(values)["containers"][0]
    return found


def refusal(values: Values) -> str:
    """The message with which these values are refused."""
    with pytest.raises(helm_python.HelmError) as caught:
        rendered(values)
    return str(caught.value)


def merged(*layers: Values) -> dict[str, Any]:
    """The layers put together, the last one on top; mappings are merged at every depth."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = result.get(name)
            both = isinstance(below, dict) and isinstance(value, Mapping)
            result[name] = merged(below, value) if both and below is not None else value
    return result
