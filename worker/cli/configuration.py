"""The commands that look at the configuration: check-config, show-config, schema."""

from __future__ import annotations

import sys

import click
import orjson
from rich.console import Console
from rich.table import Table

from worker.cli.options import with_configuration
from worker.settings.load import Loaded
from worker.settings.schema import Settings

# A narrow terminal folds; a pipe gets whole lines.
PIPE_COLUMNS = 200


@click.command("check-config")
@with_configuration
def check_config(loaded: Loaded) -> None:
    """Check the configuration and say all that is wrong with it.

    Example: appmetrica-worker check-config --config config.yaml
    """
    settings = loaded.settings
    topics = ", ".join(route.topic for route in settings.routes)
    applications = ", ".join(str(one) for one in settings.appmetrica.applications)
    click.echo(f"The configuration is in order: topics {topics}; applications {applications}.")


@click.command("show-config")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
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
    table = Table("setting", "value", "source")
    for one in shown:
        table.add_row(one.path, one.value, one.source)
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


@click.group("schema")
def schema() -> None:
    """Print schemas for machines."""


@schema.command("config")
def schema_config() -> None:
    """Print the JSON Schema (2020-12) of the configuration file.

    Example: appmetrica-worker schema config > config.schema.json
    """
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
