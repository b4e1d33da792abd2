"""The sections `appmetrica` and `delivery`: the API, its keys, and how batches are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, SecretStr, model_validator

from worker.core.model.secret_text import unusable_key
from worker.settings.section import Seconds, Section, agreed
from worker.tls_files import TlsFiles

APPLICATION_ID_MAX = 2**63 - 1
_APPLICATION_ID = re.compile(r"[1-9][0-9]{0,18}")


def _key(value: SecretStr) -> SecretStr:
    unusable = unusable_key(value.get_secret_value())
    if unusable is not None:
        raise ValueError(f"the key {unusable.message}")
    return value


def _with_plain_ids(value: object) -> object:
    # "05" and "5" are the same number: the last one would win silently. The message doesn't show
    # the value: it may be a key that was put here by mistake.
    if isinstance(value, dict) and not all(_APPLICATION_ID.fullmatch(str(name)) for name in value):
        raise ValueError("an application's id must be a positive integer without leading zeros")
    return value


def _base_url(value: HttpUrl) -> HttpUrl:
    if value.query or value.fragment or value.username or value.password:
        raise ValueError("may hold only scheme, host, port and path")
    return value


class Application(Section):
    """The key of an application, or the file that contains it."""

    post_api_key: Annotated[SecretStr, AfterValidator(_key)] | None = Field(
        default=None,
        description="Post API key; better in the environment or in a file of its own than here",
    )
    post_api_key_file: Path | None = Field(
        default=None, description="File that holds the Post API key; replaces post_api_key"
    )

    @model_validator(mode="after")
    def _agree(self) -> Application:
        missing = self.post_api_key is None
        return agreed(
            self, ["required: one of post_api_key and post_api_key_file"] if missing else []
        )

    @property
    def key(self) -> str:
        """The key itself."""
        if self.post_api_key is None:
            raise AssertionError("validated: an application has a key")
        return self.post_api_key.get_secret_value()


class AppMetrica(Section):
    """The API and the applications that have a key for it."""

    base_url: Annotated[HttpUrl, AfterValidator(_base_url)] = Field(
        default=HttpUrl("https://api.appmetrica.yandex.com"), description="Base URL of the Post API"
    )
    applications: Annotated[
        Mapping[Annotated[int, Field(ge=1, le=APPLICATION_ID_MAX)], Application],
        BeforeValidator(_with_plain_ids),
    ] = Field(min_length=1, description="Keys of the applications, by application id")
    connect_timeout_seconds: Seconds = Field(
        default=10, description="Time-out of a connection attempt"
    )
    read_timeout_seconds: Seconds = Field(
        default=25, description="Maximum time without data from the API during a request"
    )
    total_timeout_seconds: Seconds = Field(default=30, description="Time-out of a whole request")
    trust_env: bool = Field(
        default=False, description="Whether proxy variables such as HTTPS_PROXY are used"
    )
    ssl_ca_file: Path | None = Field(
        default=None,
        description=(
            "File of trusted CA certificates (PEM) for the API and an HTTPS proxy; null: the "
            "certificates of the system"
        ),
    )

    def tls_files(self) -> TlsFiles | None:
        """The file of trusted certificates; None: those of the system."""
        return None if self.ssl_ca_file is None else TlsFiles(self.ssl_ca_file)


class Delivery(Section):
    """How batches are sent."""

    requests_in_flight_max: int = Field(
        default=8, ge=1, le=256, description="Maximum number of requests in flight"
    )
    request: Literal["body", "params"] = Field(
        default="body",
        description="Form of a request: rows as CSV in the body, or one row in the query string",
    )
    query_bytes_max: int = Field(
        default=7168,
        ge=512,
        le=1_048_576,
        description=(
            "Maximum bytes of a row in a query string; many servers accept 8 KiB "
            "including the rest of the URL"
        ),
    )
    backoff_initial_seconds: Seconds = Field(
        default=0.5, description="Maximum wait before the first retry"
    )
    backoff_max_seconds: Seconds = Field(default=60, description="Maximum wait before any retry")
    retry_after_max_seconds: Seconds = Field(
        default=300, description="Maximum Retry-After that is obeyed"
    )
    breaker_failures_max: int = Field(
        default=5,
        ge=1,
        le=1000,
        description=(
            "Consecutive failures that open the breaker; then only one request at a time "
            "probes the API"
        ),
    )
    requests_per_second_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Maximum average requests per second; null: no limit"
    )
    rows_per_second_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="Maximum average rows per second; null: no limit"
    )
    bisect_requests_per_minute_max: int = Field(
        default=600,
        ge=1,
        le=100_000,
        description="Maximum requests per minute that search for the bad rows of refused batches",
    )
    hold_probe_seconds: Seconds = Field(
        default=30, description="Interval between probes of an application on hold"
    )
    systemic_ratio: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description=(
            "Share of refused rows above which the application is put on hold and no row "
            "is dead-lettered"
        ),
    )
    systemic_rows_min: int = Field(
        default=20,
        ge=2,
        le=100_000,
        description="Minimum number of rows of a batch for systemic_ratio to apply",
    )

    @model_validator(mode="after")
    def _agree(self) -> Delivery:
        swapped = self.backoff_initial_seconds > self.backoff_max_seconds
        return agreed(
            self, ["backoff_initial_seconds must be at most backoff_max_seconds"] if swapped else []
        )
