"""The faults of a configuration that doesn't fit the schema, each with its path and its source.

pydantic finds them; here they get messages that say what to do. No message contains a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from worker.errors import Fault
from worker.settings.delivery import Application, AppMetrica
from worker.settings.layers import WHOLE_FILE, Layer, source_near
from worker.settings.schema import Settings
from worker.settings.section import FAULT_SEPARATOR, PATH_SEPARATOR

# The only setting without a default.
APPLICATIONS = ("appmetrica", "applications")


def faults_of_schema(found: ValidationError, layer: Layer) -> list[Fault]:
    """The faults that pydantic has found in a layer's values, without consequences of others."""
    errors = found.errors(include_input=False, include_url=False)
    places = [error["loc"] for error in errors]
    refused = [tuple(fault.path.split(".")) for fault in layer.faults]
    return [
        fault
        for error in errors
        if not _follows(error, places, refused)
        for fault in _faults(error, layer)
    ]


def _follows(
    error: ErrorDetails, places: Sequence[tuple[int | str, ...]], refused: Sequence[tuple[str, ...]]
) -> bool:
    """Whether this error is only a consequence of another fault, which is shown.

    For pydantic, a list with one bad entry is empty, and a value that a layer could not read is
    missing.
    """
    place = error["loc"]
    if error["type"] == "too_short":
        return any(other != place and other[: len(place)] == place for other in places)
    if error["type"] == "missing":
        place = APPLICATIONS if place == APPLICATIONS[:1] else place
        return any(other == (WHOLE_FILE,) or other[: len(place)] == place for other in refused)
    return False


def _faults(details: ErrorDetails, layer: Layer) -> list[Fault]:
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    source = source_near(path, layer.sources)
    dotted = ".".join(path) or "configuration"
    match details["type"]:
        case "missing" | "too_short" | "model_type" | "mapping_type" | "dict_type" if (
            required := _required(path)
        ):
            return [Fault(dotted, source, required)]
        case "missing":
            return [Fault(dotted, source, "required")]
        case "model_type" | "mapping_type" | "dict_type":
            return [
                Fault(
                    dotted, source, "must be a mapping of settings; remove it to use the defaults"
                )
            ]
        case "tuple_type":
            message = (
                "must be a list: one file, variable or --set gives the whole list, never a part "
                "of it"
            )
            return [Fault(dotted, source, message)]
        case "extra_forbidden":
            near = get_close_matches(path[-1], _names(path[:-1]), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return [Fault(dotted, source, f"unknown key{hint}")]
        case "value_error":
            text = details["msg"].removeprefix("Value error, ")
            return [_agreement(path, part, layer) for part in text.split(FAULT_SEPARATOR)]
        case _:
            return [Fault(dotted, source, details["msg"])]


def _agreement(path: tuple[str, ...], part: str, layer: Layer) -> Fault:
    """A fault that a section has found in itself: of the section, or of a path within it."""
    within, separator, message = part.rpartition(PATH_SEPARATOR)
    whole = (*path, *within.split(".")) if separator else path
    return Fault(".".join(whole) or "configuration", source_near(whole, layer.sources), message)


def _required(path: tuple[str, ...]) -> str | None:
    """The message for a required setting; None: nothing is required at this path."""
    match path:
        case ("appmetrica",) | ("appmetrica", "applications"):
            return (
                "required: at least one application with its key, as in applications: "
                '{"1111": {post_api_key_file: FILE}}'
            )
        case ("appmetrica", "applications", _):
            return "required: one of post_api_key and post_api_key_file"
        case ("routes",):
            return "required: at least one route, as in routes: [{topic: offline-events}]"
        case _:
            return None


def _names(path: tuple[str, ...]) -> list[str]:
    """The keys of the schema at this path."""
    model: object = Settings
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            model = _model_in(annotation)
        elif model is AppMetrica or part.isdigit():
            model = Application if path[:2] == ("appmetrica", "applications") else model
    return (
        list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    )


def _model_in(annotation: object) -> object:
    """The section within an annotation such as `tuple[RouteSettings, ...]` or `Section | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
