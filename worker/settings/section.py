"""What every section of the configuration is made of: strictness, and the types that several sections share."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# A day bounds whatever is waited for: more is a unit mistaken, and Kafka's protocol holds times in 32 bits of milliseconds.
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Topic = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$", description="A topic's name")]


class Section(BaseModel):
    """A part of the configuration. Unknown keys are errors, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: object, info: ValidationInfo) -> object:
        # `rows_max: yes` would silently become 1.
        if isinstance(value, bool) and info.field_name is not None and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("must not be true or false; if text is meant, put it in quotes")
        return value


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
FAULT_SEPARATOR = "; "
