"""The commands about the configuration: check-config, show-config, schema."""

from __future__ import annotations

import sys

import click
import orjson
from rich.table import Column, Table
from rich.text import Text

from worker.cli.loading import require_extras, with_configuration
from worker.cli.output import console, dump, readable, say
from worker.cli.running import run_tool, tool_connection
from worker.contract.texts import asyncapi_json, asyncapi_yaml, schema_text
from worker.core.post_api.resource import RESOURCES
from worker.edges.container_memory import memory_limit_bytes
from worker.edges.kafka.aiokafka_internals import expected_names
from worker.errors import ExitCode
from worker.settings.load import Loaded
from worker.settings.record_shape import note_of_key_field
from worker.settings.schema import Settings
from worker.tools.environment_check import Check, CheckResult, check_connections, check_memory


@click.command("check-config")
@click.option(
    "--connect",
    is_flag=True,
    help="Also check brokers, topics, permissions and the API. Writes no record, sends no event.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results of --connect as JSON.")
@with_configuration
def check_config(loaded: Loaded, connect: bool, as_json: bool) -> None:
    """Check the configuration and list all its faults.

    Example: appmetrica-worker check-config --config config.yaml --connect
    """
    expected_names.check()
    require_extras(loaded)
    settings = loaded.settings
    topics = ", ".join(route.topic for route in settings.routes)
    applications = ", ".join(map(str, settings.appmetrica.applications))
    # With --json, only the document is on stdout.
    click.echo(
        f"The configuration is valid: topics {topics}; applications {applications}.", err=as_json
    )
    if loaded.ignored:
        names = ", ".join(sorted(loaded.ignored))
        say(f"Ignored, because Kubernetes sets these variables for a Service: {names}.")
    for note in _notes_of_keys(settings):
        say(f"warning: {note}")
    memory = check_memory(settings, memory_limit_bytes())
    if connect:
        _connect(settings, memory, as_json=as_json)
    elif memory.result is not CheckResult.OK:
        say(f"{memory.result.value}: {memory.subject}: {memory.detail}")


def _notes_of_keys(settings: Settings) -> list[str]:
    """The key fields that are no columns: an id of the records' own, or a wrong name."""
    notes: list[str] = []
    for route in settings.resolved_routes():
        if route.parked_from is not None:
            continue
        name = "key_field" if route.dedup.key_fields is None else "key_fields"
        texts = [note_of_key_field(text, route) for text in route.key.fields]
        notes += [f"topic {route.topic}, dedup.{name}: {text}" for text in texts if text]
    return notes


def _connect(settings: Settings, memory: Check, *, as_json: bool) -> None:
    checks = [memory, *run_tool(settings, check_connections(settings, tool_connection(settings)))]
    if as_json:
        dump(
            [
                {"what": check.subject, "standing": check.result.value, "detail": check.detail}
                for check in checks
            ]
        )
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        styles = {
            CheckResult.OK: "green",
            CheckResult.WARNING: "yellow",
            CheckResult.FAULT: "bold red",
        }
        for check in checks:
            table.add_row(
                Text(check.result.value, styles[check.result]),
                Text(check.subject),
                Text(check.detail, overflow="fold"),
            )
        console().print(table)
    is_faulty = any(check.result is CheckResult.FAULT for check in checks)
    sys.exit(ExitCode.UNAVAILABLE if is_faulty else ExitCode.OK)


@click.command("show-config")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_configuration
def show_config(loaded: Loaded, as_json: bool) -> None:
    """Show every setting and where its value comes from. Secrets are masked.

    Example: appmetrica-worker show-config --config config.yaml
    """
    shown = loaded.shown()
    if as_json:
        rows = [{"path": one.path, "value": one.value, "source": one.source} for one in shown]
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    # A narrow terminal cuts nothing, and no control character reaches it.
    table = Table(*(Column(name, overflow="fold") for name in ("setting", "value", "source")))
    for one in shown:
        table.add_row(*(readable(text.encode()) for text in (one.path, one.value, one.source)))
    console().print(table)


@click.group("schema")
def schema() -> None:
    """Print the schemas of the configuration and of records."""


@schema.command("config")
def schema_config() -> None:
    """Print the JSON Schema (2020-12) of the configuration file.

    Example: appmetrica-worker schema config > config.schema.json
    """
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Settings.model_json_schema(),
    }
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))


@schema.command("event")
@click.option(
    "--resource",
    default="events",
    show_default=True,
    type=click.Choice(list(RESOURCES)),
    help="The resource of the records.",
)
def schema_event(resource: str) -> None:
    """Print the JSON Schema (2020-12) of a resource's records.

    Example: appmetrica-worker schema event --resource revenue > revenue.schema.json
    """
    click.echo(schema_text(RESOURCES[resource]), nl=False)


@schema.command("asyncapi")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of YAML.")
def schema_asyncapi(as_json: bool) -> None:
    """Print the contract as an AsyncAPI 3 document.

    The contract defines the topics and the records of producers.

    Example: appmetrica-worker schema asyncapi > asyncapi.yaml
    """
    click.echo(asyncapi_json() if as_json else asyncapi_yaml(), nl=False)
