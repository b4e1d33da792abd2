"""The section `kafka.sasl_oauth`: where the tokens of OAUTHBEARER come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, HttpUrl, SecretStr, model_validator

from worker.core.model.secret_text import too_short
from worker.settings.section import Section, agreed

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SOURCES = ("token_file", "token_command", "token_endpoint")
_CLIENT = ("client_id", "client_secret")


def _password(value: SecretStr) -> SecretStr:
    unusable = too_short(value.get_secret_value())
    if unusable is not None:
        raise ValueError(f"the password {unusable.message}")
    return value


def _token_endpoint(value: HttpUrl) -> HttpUrl:
    if value.fragment or value.username or value.password:
        raise ValueError("may hold only scheme, host, port, path and query")
    if value.scheme != "https" and value.host not in _LOOPBACK:
        raise ValueError("must be https: the client secret would be readable on the way")
    return value


Password = Annotated[SecretStr, AfterValidator(_password)]


class SaslOauth(Section):
    """Where the tokens of OAUTHBEARER come from: a file, a command, or a token endpoint."""

    token_file: Path | None = Field(
        default=None, description="File of the token, kept fresh by another program"
    )
    token_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Program and arguments; it writes a token to standard output. It gets no AMW_ variable"
        ),
    )
    token_endpoint: Annotated[HttpUrl, AfterValidator(_token_endpoint)] | None = Field(
        default=None, description="URL that gives tokens for client credentials; https"
    )
    client_id: str | None = Field(
        default=None, min_length=1, description="Client id for the token endpoint"
    )
    client_secret: Password | None = Field(
        default=None, description="Client secret for the token endpoint"
    )
    client_secret_file: Path | None = Field(
        default=None, description="File that holds the client secret; replaces client_secret"
    )
    scope: str | None = Field(
        default=None, min_length=1, description="Scope of the requested tokens"
    )
    ssl_ca_file: Path | None = Field(
        default=None,
        description=(
            "File of the CA certificates (PEM) that are trusted for the token endpoint; null: the "
            "certificates of the system"
        ),
    )

    @model_validator(mode="after")
    def _agree(self) -> SaslOauth:
        given = [name for name in _SOURCES if getattr(self, name) is not None]
        faults = []
        if len(given) != 1:
            found = f"{' and '.join(given)} exclude each other: " if given else ""
            faults.append(f"{found}set one of {', '.join(_SOURCES)}")
        if self.token_endpoint is not None:
            missing = [name for name in _CLIENT if getattr(self, name) is None]
            faults += [f"{name} is required with token_endpoint" for name in missing]
        elif given:
            names = (*_CLIENT, "scope", "ssl_ca_file")
            unused = [name for name in names if getattr(self, name) is not None]
            faults += [f"{name} has no effect without token_endpoint" for name in unused]
        return agreed(self, faults)
