"""The section `tracing`: where spans go, and what of it is a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.loading import faults, loaded
from worker.settings.tracing import secrets_of_sdk

TOKEN = "Bearer token-of-the-collector"


def test_nothing_is_traced_without_the_setting(tmp_path: Path) -> None:
    tracing = loaded(tmp_path).settings.tracing
    assert not tracing.enabled
    assert tracing.spans_url() is None
    assert tracing.plain_headers() == {}


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://collector/otlp", "https://collector/otlp/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_the_endpoint_is_the_address_of_the_collector(
    tmp_path: Path, endpoint: str, url: str
) -> None:
    tracing = loaded(tmp_path, f"tracing: {{endpoint: {endpoint}}}").settings.tracing
    assert tracing.spans_url() == url


@pytest.mark.parametrize(
    ("text", "path", "part"),
    [
        ("{endpoint: 'http://ann:secret@collector'}", "tracing.endpoint", "belongs in headers"),
        ("{endpoint: 'http://collector?token=secret'}", "tracing.endpoint", "belongs in headers"),
        ("{headers: {'a secret': x}}", "tracing.headers", "the name of a header"),
        ('{headers: {a: "secret\\nb: c"}}', "tracing.headers.a", "printable ASCII"),
        ("{headers: {a: ' secret'}}", "tracing.headers.a", "white space"),
        ("{sample_ratio: 1.5}", "tracing.sample_ratio", "1"),
    ],
)
def test_a_fault_is_found_and_shows_no_value(
    tmp_path: Path, text: str, path: str, part: str
) -> None:
    (fault,) = faults(tmp_path, f"tracing: {text}")
    assert fault.path == path
    assert part in fault.message
    assert "secret" not in str(fault)


def test_the_values_of_headers_are_secrets(tmp_path: Path) -> None:
    text = f"tracing: {{enabled: true, headers: {{Authorization: {TOKEN}, X-Scope-OrgID: '1'}}}}"
    config = loaded(
        tmp_path,
        text,
        {"OTEL_EXPORTER_OTLP_HEADERS": "a=of%20the%20sdk,b=x", "OTEL_SERVICE_NAME": "shop"},
    )
    assert config.settings.tracing.plain_headers() == {"Authorization": TOKEN, "X-Scope-OrgID": "1"}
    # In a text, a single character would be masked everywhere.
    assert {*config.secrets()} == {"secret-key", TOKEN, "of%20the%20sdk", "of the sdk"}
    assert TOKEN not in str(config.shown()) + repr(config)


def test_headers_may_come_from_a_secret_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, secrets={"AMW_TRACING__HEADERS": f'{{"authorization": "{TOKEN}"}}'})
    assert config.settings.tracing.plain_headers() == {"authorization": TOKEN}


def test_the_variables_of_the_sdk_are_not_read_without_traces(tmp_path: Path) -> None:
    config = loaded(tmp_path, "", {"OTEL_EXPORTER_OTLP_HEADERS": "a=worker"})
    assert config.secrets() == ["secret-key"]
    assert secrets_of_sdk({}) == ()
