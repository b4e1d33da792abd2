"""The section `tracing`: whether traces are made, and where they are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import unquote

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr

from worker.core.model.secret_text import SECRET_CHARACTERS_MIN
from worker.settings.section import Seconds, Section

SPANS_PATH = "/v1/traces"
# The variables of the OpenTelemetry SDK for the headers of its requests, which may hold a password.
HEADER_VARIABLES = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
# Source: RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _endpoint(value: HttpUrl) -> HttpUrl:
    if value.query or value.fragment or value.username or value.password:
        raise ValueError("may hold only scheme, host, port and path; a password belongs in headers")
    return value


def _with_header_names(value: object) -> object:
    # The message doesn't show the name: it may be a value that was put here by mistake.
    if isinstance(value, dict) and not all(_HEADER_NAME.fullmatch(str(name)) for name in value):
        raise ValueError("the name of a header may hold only letters, digits and !#$%&'*+.^_`|~-")
    return value


def _header_value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError("must be printable ASCII without white space at its ends")
    return value


class Tracing(Section):
    """Traces in OpenTelemetry's form, sent to a collector. They need the extra `otel`."""

    enabled: bool = Field(default=False, description="Whether traces are made and sent")
    endpoint: Annotated[HttpUrl, AfterValidator(_endpoint)] | None = Field(
        default=None,
        description=(
            "URL of the collector's OTLP/HTTP port, as in http://collector:4318; null: "
            "OTEL_EXPORTER_OTLP_ENDPOINT or http://localhost:4318"
        ),
    )
    headers: Annotated[
        Mapping[str, Annotated[SecretStr, AfterValidator(_header_value)]],
        BeforeValidator(_with_header_names),
    ] = Field(
        default={},
        description="Headers of the requests to the collector, by name; the values are secrets",
    )
    sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of the batches that are traced"
    )
    timeout_seconds: Seconds = Field(
        default=10, description="Time-out of a request to the collector, with its retries"
    )

    def spans_url(self) -> str | None:
        """The URL to which spans are posted; None: the SDK's variables name it."""
        if self.endpoint is None:
            return None
        return str(self.endpoint).rstrip("/").removesuffix(SPANS_PATH) + SPANS_PATH

    def plain_headers(self) -> dict[str, str]:
        """The headers with their values in plain text."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}


def secrets_of_sdk(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values of headers in the SDK's variables: `name=value,name=value`, percent-encoded."""
    values = [
        part.partition("=")[2].strip()
        for name in HEADER_VARIABLES
        for part in environment.get(name, "").split(",")
    ]
    return tuple({*values, *map(unquote, values)} - {""})


def is_maskable(secret: str) -> bool:
    """Whether the secret is long enough to be masked: a tenant's number in a header is not."""
    return len(secret) >= SECRET_CHARACTERS_MIN
