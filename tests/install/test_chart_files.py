"""The generated files of the chart are in step with the worker's settings and values.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from tests.certificates import make_certificates
from tests.install.chart import merged, objects, one
from tests.install.install_page import PAGE, blocks, page_text
from tests.install.values import (
    PROPERTIES,
    VALUES,
    Schema,
    described_values,
    generated,
    schema,
)
from worker.cli.configuration import check_config


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in generated()])
def test_file_is_as_make_schema_writes_it(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated()[path], "run `make schema`"


def test_sizes_on_the_page_are_those_of_bench_and_chart() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_text(), "run `make schema`"


@pytest.mark.parametrize("number", range(len(blocks())))
def test_values_on_the_page_install(number: int) -> None:
    first, *others = blocks()
    added = [others[number - 1]] if number else []
    found = {candidate["kind"] for candidate in objects(merged(first, *added))}
    assert {"Deployment", "ConfigMap"} <= found


@pytest.mark.parametrize("number", range(len(blocks())))
def test_check_config_accepts_the_values_on_the_page(number: int, tmp_path: Path) -> None:
    """With the mounted files of the page: the secrets are whatever the reader has."""
    first, *others = blocks()
    added = [others[number - 1]] if number else []
    config = one(merged(first, *added), "ConfigMap", "amw-appmetrica-worker")["data"]["config.yaml"]
    own = make_certificates(tmp_path)
    files = {"ca.crt": own.certificate, "user.crt": own.certificate, "user.key": own.key}
    for path in set(re.findall(r"/etc/appmetrica-worker/\S+", config)):
        known = files.get(Path(path).name)
        mounted = tmp_path / path.replace("/", "-")
        mounted.write_text(known.read_text() if known is not None else "a-secret")
        config = config.replace(path, str(mounted))
    config_file = tmp_path / "config.yaml"
    config_file.write_text(config)
    result = CliRunner().invoke(check_config, ["--config", str(config_file)], env={})
    assert result.exit_code == 0, result.output


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json.loads(json.dumps(schema())))


def test_defaults_fit_the_schema_apart_from_the_applications() -> None:
    defaults = yaml.safe_load(VALUES.read_text())
    faults = Draft202012Validator(schema()).iter_errors(defaults)
    assert {fault.json_path for fault in faults} == {"$.config.appmetrica.applications"}


def test_every_value_of_the_schema_has_a_default_and_a_description() -> None:
    described = {value.path for value in described_values()}
    undescribed = {
        path
        for path in _leaves("", PROPERTIES)
        if path not in described and path.rpartition(".")[0] not in described
    }
    assert undescribed == {"global"}


def _leaves(prefix: str, properties: dict[str, Schema]) -> list[str]:
    found = []
    for name, schema_of_value in properties.items():
        nested = schema_of_value.get("properties")
        path = f"{prefix}{name}"
        found += _leaves(f"{path}.", nested) if nested else [path]
    return found
