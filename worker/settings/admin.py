"""The section `admin`: where metrics, probes and the status page are served, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, model_validator

from worker.core.model.secret_text import unusable_token
from worker.settings.sasl_oauth import Password
from worker.settings.section import Section, agreed, at
from worker.tls_files import TlsFiles


def _token(value: SecretStr) -> SecretStr:
    unusable = unusable_token(value.get_secret_value())
    if unusable is not None:
        raise ValueError(f"the token {unusable.message}")
    return value


class Admin(Section):
    """The admin port."""

    host: str = Field(
        default="::",
        min_length=1,
        description=(
            "Address to listen on. `::`: all IPv6 and IPv4 addresses; 0.0.0.0: all IPv4 addresses"
        ),
    )
    port: int = Field(
        default=9090, ge=0, le=65_535, description="Port to listen on; 0 picks a free port"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description=(
            "Host names under which the page and /status are answered, beside IP addresses, names "
            "without a dot and names under .local, .internal, .localhost and .svc; `*`: all names"
        ),
    )
    debug_stacks: bool = Field(
        default=False,
        description=(
            "Answer /debug/stacks: where threads and tasks are, the last events, each partition"
        ),
    )
    metrics_host: str = Field(
        default="::",
        min_length=1,
        description="Address to listen on for metrics_port",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description=(
            "Port of its own for /metrics and the probes; /metrics is then not on `port`. null: "
            "all on `port`"
        ),
    )
    token: Annotated[SecretStr, AfterValidator(_token)] | None = Field(
        default=None,
        description=(
            "Bearer token that every request but the probes must carry, or as the password of HTTP "
            "Basic; null: none"
        ),
    )
    token_file: Path | None = Field(
        default=None, description="File that holds the token; replaces token"
    )
    ssl_certificate_file: Path | None = Field(
        default=None,
        description="File of the server's certificate and chain (PEM); null: HTTP without TLS",
    )
    ssl_key_file: Path | None = Field(
        default=None, description="File of the server's private key (PEM)"
    )
    ssl_key_password: Password | None = Field(
        default=None, description="Password of the private key"
    )
    ssl_key_password_file: Path | None = Field(
        default=None,
        description="File that holds the password of the private key; replaces ssl_key_password",
    )

    def tls_files(self) -> TlsFiles | None:
        """The files of TLS and the key's password; None: TLS isn't used."""
        if self.ssl_certificate_file is None:
            return None
        password = self.ssl_key_password
        return TlsFiles(
            None,
            self.ssl_certificate_file,
            self.ssl_key_file,
            password.get_secret_value() if password is not None else None,
        )

    @model_validator(mode="after")
    def _agree(self) -> Admin:
        faults = []
        if self.ssl_certificate_file is None:
            faults += [
                at(name, "has no effect without ssl_certificate_file")
                for name in ("ssl_key_file", "ssl_key_password")
                if getattr(self, name) is not None
            ]
        if self.metrics_port and (self.metrics_host, self.metrics_port) == (self.host, self.port):
            faults.append(at("metrics_port", "must differ from port; null: both on one port"))
        return agreed(self, faults)
