"""The base of every section of the configuration, and the types that several sections share."""

from __future__ import annotations

from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# No wait is longer than a day: a larger number has the wrong unit, and times in Kafka's protocol
# are 32-bit milliseconds.
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
# A year: a larger number of seconds has the wrong unit.
YEAR_SECONDS = 31_536_000
Topic = Annotated[
    str,
    Field(
        min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$", description="Name of a topic"
    ),
]


class PlainText:
    """Marks a list whose variable holds plain text instead of JSON."""


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: object, info: ValidationInfo) -> object:
        # `rows_max: yes` would silently become 1.
        name = info.field_name
        if (
            isinstance(value, bool)
            and name is not None
            and bool not in _types(cls.model_fields[name].annotation)
        ):
            raise ValueError("must not be true or false; if text is meant, put it in quotes")
        return value


def _types(annotation: object) -> tuple[object, ...]:
    return get_args(annotation) or (annotation,)


def at(path: str, fault: str) -> str:
    """A fault of a setting within the section, with its path in the section: `constants.mcc`."""
    return f"{path}{PATH_SEPARATOR}{fault}"


SectionT = TypeVar("SectionT", bound=Section)


def agreed(section: SectionT, faults: list[str]) -> SectionT:
    """The section, if its settings agree.

    Raises:
        ValueError: with every fault, separated by `FAULT_SEPARATOR`.
    """
    if faults:
        raise ValueError(FAULT_SEPARATOR.join(faults))
    return section


# A validator can raise only once; the loader splits its message.
FAULT_SEPARATOR = "\n"
# Separates a path within the section from the message.
PATH_SEPARATOR = "\x1f"
