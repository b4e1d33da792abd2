"""The check of a route's constants and fields against the resources' tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

import msgspec

from worker.core.intake.fields import check
from worker.core.intake.layout import key_path
from worker.core.intake.paths import PATH_START, Path, clash, parse_path, spelled
from worker.core.intake.rules import TimeWindow
from worker.core.model.fault import FieldFault
from worker.core.post_api.column import RAW_KINDS, Column, Kind
from worker.core.post_api.resource import EVENT_TIMESTAMP, IDENTITY_COLUMNS, RESOURCES, Identity
from worker.settings.section import at

_NO_TIME = TimeWindow(0, 0, 0)


def fields_with_time(fields: Mapping[str, str], time_field: str | None) -> Mapping[str, str]:
    """A route's `fields`, with the path of the time where `time.field` gives it."""
    return fields if time_field is None else {**fields, EVENT_TIMESTAMP.name: time_field}


def faults_of_shape(
    resource: str,
    form: str,
    constants: Mapping[str, str | int],
    mapped: Mapping[str, str],
    time_field: str | None = None,
) -> list[str]:
    """All faults of a route's constants, fields and time, each with its path within the route."""
    fields = fields_with_time(mapped, time_field)
    resources = _resources(resource, form)
    columns = {key: column for name in resources for key, column in _columns(name).items()}
    one_resource = f"{resource} has no such column"
    who = one_resource if len(resources) == 1 else "no resource has such a column"
    faults = [
        at(f"{section}.{name}", f"{who}{_hint(name, columns)}")
        for section, names in (("constants", constants), ("fields", mapped))
        for name in names
        if name not in columns
    ]
    faults += _faults_of_repetitions(constants, mapped, time_field)
    for name, value in constants.items():
        fault = _fault_of_constant(columns[name], value) if name in columns else ""
        faults += [at(f"constants.{name}", fault)] if fault else []
    for name in resources:
        faults += [
            fault
            for fault in _faults_of_paths(_columns(name), constants, fields, time_field)
            if fault not in faults
        ]
    return faults


def _faults_of_repetitions(
    constants: Mapping[str, str | int], mapped: Mapping[str, str], time_field: str | None
) -> list[str]:
    """The faults of settings that give the same value twice."""
    faults = [
        at(_setting(name, time_field), "is set in constants too: remove one of the two")
        for name in fields_with_time(mapped, time_field)
        if name in constants
    ]
    if time_field is not None and EVENT_TIMESTAMP.name in mapped:
        message = f"is set in fields.{EVENT_TIMESTAMP.name} too: remove one of the two"
        faults.append(at("time.field", message))
    if {Identity.PROFILE_ID, Identity.DEVICE_ID} <= constants.keys():
        faults.append(
            at(
                "constants",
                "profile_id and appmetrica_device_id exclude each other: remove one of them",
            )
        )
    return faults


class RouteShape(Protocol):
    """The settings of a route that say where its columns are."""

    @property
    def resource(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def constants(self) -> Mapping[str, str | int]: ...
    @property
    def fields(self) -> Mapping[str, str]: ...


def is_dated(resource: str, form: str) -> bool:
    """Whether some events of such a route have a time of their own."""
    return any(RESOURCES[name].is_dated for name in _resources(resource, form))


def fault_of_key_path(text: str, before: Sequence[str], route: RouteShape) -> str:
    """Why this field can't be a part of the event's key; empty if it can.

    Args:
        text: the field: a name or a path.
        before: the fields of the key before this one.
        route: where the columns are.
    """
    if text in before:
        return "is named twice"
    try:
        path = key_path(text)
        others = [(key_path(one), False) for one in before]
        for name in _resources(route.resource, route.form):
            columns = _columns(name)
            for place, column in _column_paths(columns, route):
                if place != path:
                    others.append((place, _may_be_led_into(column)))
                elif column.kind in RAW_KINDS:
                    return f"is no key: {column.name} holds {column.kind.value}"
    except ValueError as error:
        return str(error)
    for other in others:
        if clash([(path, False), other]) is not None:
            return f"can't be read beside {spelled(other[0])}: one path leads through the other"
    return ""


def note_of_key_field(text: str, route: RouteShape) -> str:
    """What check-config says about a key's field that is no column; empty for a column.

    It isn't a fault: records may have an id beside their columns, which is read and not sent.
    """
    path = key_path(text)
    resources = _resources(route.resource, route.form)
    columns = {key: column for name in resources for key, column in _columns(name).items()}
    for place, column in _column_paths(columns, route):
        if path == place or (path[: len(place)] == place and _may_be_led_into(column)):
            return ""
    if text in route.fields:
        return f"{text} is read from {route.fields[text]} on this route: write that path"
    who = f"no parameter of {' or '.join(resources)}"
    return (
        f"{text} is {who}{_hint(text, columns)}. Every record needs this field for its key, beside "
        "its parameters (it is not sent); a record without it has no key"
    )


def _column_paths(columns: Mapping[str, Column], route: RouteShape) -> list[tuple[Path, Column]]:
    return [
        (parse_path(route.fields[name]) if name in route.fields else (name,), column)
        for name, column in columns.items()
        if name not in route.constants
    ]


def ordered_resources(resource: str, form: str, *, ordered: bool | None) -> frozenset[str]:
    """The resources of a route whose rows are sent in order; `ordered` None: those of state."""
    return frozenset(
        name
        for name in _resources(resource, form)
        if (RESOURCES[name].is_state if ordered is None else ordered)
    )


def _resources(resource: str, form: str) -> tuple[str, ...]:
    return tuple(RESOURCES) if form == "envelope" else (resource,)


def faults_of_selection(select: Mapping[str, Sequence[object]]) -> list[str]:
    """All faults of a route's selection, each with its path within the route."""
    faults: list[str] = []
    for place in select:
        try:
            if place.startswith(PATH_START):
                parse_path(place)
            elif not place:
                raise ValueError("must be a path, as in $.type, or the name of a header")
        except ValueError as error:
            faults.append(at(f"select.{place}", str(error)))
    return faults


def constant_texts(constants: Mapping[str, str | int]) -> dict[str, str]:
    """The cells of valid constants."""
    columns = {key: column for name in RESOURCES for key, column in _columns(name).items()}
    return {name: str(_cell(columns[name], value)) for name, value in constants.items()}


def _columns(resource: str) -> dict[str, Column]:
    return {
        column.name: column for column in (*IDENTITY_COLUMNS.values(), *RESOURCES[resource].columns)
    }


def _hint(name: str, columns: Mapping[str, Column]) -> str:
    near = get_close_matches(name, columns, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _fault_of_constant(column: Column, value: str | int) -> str:
    if column.kind is Kind.TIMESTAMP:
        return "can't be the same for every event: remove it"
    cell = _cell(column, value)
    if isinstance(cell, FieldFault):
        return cell.message
    return "" if cell else "is empty: remove it"


def _cell(column: Column, value: str | int) -> str | FieldFault:
    if column.kind in RAW_KINDS:
        return check(column, msgspec.Raw(msgspec.json.encode(value)), _NO_TIME)
    return check(column, value, _NO_TIME) if value != "" else ""


def _setting(name: str, time_field: str | None) -> str:
    """The setting that gives the path of a column."""
    is_time = time_field is not None and name == EVENT_TIMESTAMP.name
    return "time.field" if is_time else f"fields.{name}"


def _faults_of_paths(
    columns: Mapping[str, Column],
    constants: Mapping[str, str | int],
    fields: Mapping[str, str],
    time_field: str | None,
) -> list[str]:
    faults: list[str] = []
    paths: list[tuple[Path, bool]] = [
        ((name,), _may_be_led_into(column))
        for name, column in columns.items()
        if name not in constants and name not in fields
    ]
    for name, text in fields.items():
        if name not in columns:
            continue
        try:
            path = parse_path(text)
        except ValueError as error:
            faults.append(at(_setting(name, time_field), str(error)))
            continue
        place = (path, _may_be_led_into(columns[name]))
        both = clash([*paths, place])
        if both is None:
            paths.append(place)
        else:
            message = (
                f"{text} and {spelled(both[0])} can't both be read: one path contains the other"
            )
            faults.append(at(_setting(name, time_field), message))
    return faults


def _may_be_led_into(column: Column) -> bool:
    """Whether other paths may lead into the column's value: it is an object."""
    return column.kind in (Kind.JSON_OBJECT, Kind.ATTRIBUTES)
