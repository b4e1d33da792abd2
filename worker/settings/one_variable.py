"""The value of a single variable, read by pydantic-settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from worker.settings.layers import ENVIRONMENT_PREFIX, NESTING, Values
from worker.settings.schema import Settings
from worker.settings.section import PlainText


class NotJsonError(ValueError):
    """The setting is a list or an object, and the text is not JSON, or repeats a key."""


def values_of(name: str, value: str) -> Values:
    """The nested values that this variable sets; none if no setting has its name.

    Raises:
        NotJsonError: the text can't be read.
    """
    try:
        return _OneVariable(name, value)()
    except SettingsError:
        raise NotJsonError from None


class _Names(BaseSettings, Settings):
    """The settings' names as pydantic-settings wants them."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=NESTING
    )


class _OneVariable(EnvSettingsSource):
    """pydantic-settings' source with a single variable, so that a fault names the variable."""

    def __init__(self, name: str, value: str) -> None:
        self._one = {name.lower(): value}
        super().__init__(_Names)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._one

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON as pydantic-settings reads it; a repeated key is an error.

        Otherwise one of the two values would silently win.
        """
        if PlainText in field.metadata:
            return value
        decoded = super().decode_complex_value(field_name, field, value)
        if decoded is not value:
            json.loads(value, object_pairs_hook=_without_repetition)
        return decoded


def _without_repetition(pairs: list[tuple[str, Any]]) -> Values:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)
