"""What every section of the configuration is made of: strictness, and the types that several
sections share.
"""

from __future__ import annotations

from typing import Annotated, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# A day bounds whatever is waited for: more is a unit mistaken, and Kafka's protocol holds times in
# 32 bits of milliseconds.
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
# A year: beyond it a number of seconds is a unit mistaken.
YEAR_SECONDS = 31_536_000
Topic = Annotated[
    str,
    Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$", description="A topic's name"),
]


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
    """A fault of something within the section, with the path to it from there: `constants.mcc`."""
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


# A validator can raise once only; the loader splits what it raised.
FAULT_SEPARATOR = "\n"
# Stands between a path within the section and what is wrong there.
PATH_SEPARATOR = "\x1f"
