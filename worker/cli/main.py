"""The command line: `appmetrica-worker COMMAND`."""

from __future__ import annotations

import click
import orjson

from worker import __version__
from worker.cli.configuration import check_config, schema, show_config
from worker.cli.lag import lag
from worker.cli.letters import dlq, parked
from worker.cli.rehearse import rehearse_command
from worker.cli.run import run_command
from worker.cli.sandbox import demo, sandbox
from worker.cli.validate import validate
from worker.cli.why import why
from worker.daemon.signals import Signals


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="appmetrica-worker")
@click.pass_context
def cli(context: click.Context) -> None:
    """Deliver offline events from Kafka to the AppMetrica Post API: at least once, no loss, every
    record accounted for.
    """
    signals = context.find_object(Signals)
    # The tools end as programs of a terminal do.
    if signals is not None and context.invoked_subcommand != run_command.name:
        signals.give_back()


@cli.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version."""
    click.echo(orjson.dumps({"version": __version__}) if as_json else __version__)


for command in (
    run_command,
    check_config,
    show_config,
    schema,
    validate,
    rehearse_command,
    lag,
    why,
    dlq,
    parked,
    sandbox,
    demo,
):
    cli.add_command(command)
