"""Which route's rules `validate` applies to the records of a file."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import click

from worker.settings.routing import RouteSettings
from worker.settings.schema import Settings
from worker.tools.file_formats import FileFormat


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings and the route that apply to the records of a file.

    `is_routed`: a record's own topic chooses its route, `topic` is for the others.
    """

    settings: Settings
    topic: str
    is_routed: bool
    description: str


def chosen_rules(
    settings: Settings, topic: str | None, resource: str | None, file_format: FileFormat
) -> Rules:
    """The rules for the options --topic and --resource.

    Raises:
        click.BadParameter: the topic has no route, or there is no such resource.
    """
    configured = {route.topic for route in settings.resolved_routes()}
    choose = _bodies if file_format is FileFormat.CSV else _route
    settings, chosen = choose(settings, topic, resource)
    is_routed = topic is None and resource is None
    description = _description(settings, chosen, configured, is_routed=is_routed)
    return Rules(settings, chosen, is_routed, description)


def _route(settings: Settings, topic: str | None, resource: str | None) -> tuple[Settings, str]:
    """The settings and the topic of the route to apply; a resource without a route gets one."""
    routes = settings.resolved_routes()
    if topic is not None:
        if topic not in {route.topic for route in routes}:
            known = ", ".join(route.topic for route in settings.routes)
            raise click.BadParameter(
                f"{topic!r} has no route in the configuration, which has {known}: pass --config, "
                "or --resource",
                param_hint="--topic",
            )
        return settings, topic
    if resource is None:
        return settings, routes[0].topic
    for route in routes:
        if route.resource == resource:
            return settings, route.topic
    return _with_route(settings, resource)


def _bodies(settings: Settings, topic: str | None, resource: str | None) -> tuple[Settings, str]:
    """The same for a CSV body, which has the API's own columns: no envelope, no mapped field."""
    routed, chosen = _route(settings, topic, resource)
    named = {route.topic: route.resource for route in routed.resolved_routes()}
    return _with_route(as_bodies(settings), named[chosen])


def as_bodies(settings: Settings) -> Settings:
    """The settings, with rows in request bodies."""
    return settings.model_copy(
        update={"delivery": settings.delivery.model_copy(update={"request": "body"})}
    )


def _with_route(settings: Settings, resource: str) -> tuple[Settings, str]:
    property_schema = RouteSettings.model_json_schema()["properties"]["resource"]
    names = property_schema.get("enum", [property_schema.get("const")])
    if resource not in names:
        raise click.BadParameter(
            f"{resource!r} is not one of {', '.join(names)}", param_hint="--resource"
        )
    route = RouteSettings.model_validate({"topic": f"validate-{resource}", "resource": resource})
    return settings.model_copy(update={"routes": (route,)}), route.topic


def _description(settings: Settings, topic: str, configured: Set[str], *, is_routed: bool) -> str:
    """Which rules apply, for people."""
    (route,) = (route for route in settings.resolved_routes() if route.topic == topic)
    what = "envelopes of any resource" if route.form == "envelope" else route.resource
    form = ", as CloudEvents" if route.form == "cloudevents" else ""
    if topic not in configured:
        return f"Its records are checked as {what}, by a route with the default settings."
    others = "; records of other topics by their routes" if is_routed else ""
    return f"Its records are checked as {what}{form}, by the route of topic {topic}{others}."
