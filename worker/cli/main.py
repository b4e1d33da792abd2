"""The command line `appmetrica-worker COMMAND`, with the commands `run` and `version`."""

from __future__ import annotations

import asyncio
import logging
import sys

import click
import orjson

from worker import __version__
from worker.cli.configuration import check_config, schema, show_config
from worker.cli.dead_letters import dlq, parked
from worker.cli.lag import lag
from worker.cli.rehearse import rehearse_command
from worker.cli.running import require_extras, with_configuration
from worker.cli.sandbox import demo, sandbox
from worker.cli.top import top
from worker.cli.validate import validate
from worker.cli.why import why
from worker.core.intake.pass_choice import PASS_FORM
from worker.daemon.app import Process, run
from worker.daemon.signals import Signals
from worker.edges.container_memory import memory_limit_bytes
from worker.edges.post_api.reachability import proxy_passwords
from worker.edges.telemetry.logs import configure_logging, log_stray_exceptions
from worker.settings.load import Loaded
from worker.tools.environment_check import CheckResult, check_memory

logger = logging.getLogger("worker.run")

# Kubernetes sets seven variables for a Service and more for each further port: the first names are
# enough to recognise the Service.
NAMES_MAX = 10


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="appmetrica-worker")
@click.pass_context
def cli(context: click.Context) -> None:
    """Deliver offline events from Kafka to the AppMetrica Post API.

    Each valid event is delivered at least once, and every record is accounted for.
    """
    signals = context.find_object(Signals)
    # All other commands react to signals as terminal programs do.
    if signals is not None and context.invoked_subcommand != run_command.name:
        signals.give_back()


@click.command("run")
@with_configuration
@click.pass_obj
def run_command(signals: Signals, loaded: Loaded) -> None:
    """Read events from Kafka and deliver them to the Post API.

    SIGTERM, SIGINT and SIGHUP stop the worker: it delivers what it has read, commits, and exits.

    Example: appmetrica-worker run --config config.yaml
    """
    require_extras(loaded)
    settings = loaded.settings
    secrets = loaded.secrets() + proxy_passwords()
    recent_logs = configure_logging(settings.log.format, settings.log.level, secrets)
    log_stray_exceptions()
    _log_environment(loaded)
    process = Process(settings, loaded.config_hash(), recent_logs, signals)
    sys.exit(asyncio.run(run(process)))


def _log_environment(loaded: Loaded) -> None:
    """Log what is unusual in the environment: Service variables, a low memory limit."""
    if loaded.ignored:
        logger.info(
            "service_links_ignored",
            extra={"variables": sorted(loaded.ignored)[:NAMES_MAX], "count": len(loaded.ignored)},
        )
    memory = check_memory(loaded.settings, memory_limit_bytes())
    if memory.result is not CheckResult.OK:
        logger.warning("container_memory_low", extra={"detail": memory.detail})


@cli.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version; as JSON, also whether the intake's fast pass is compiled."""
    details = {"version": __version__, "fast_pass": PASS_FORM}
    click.echo(orjson.dumps(details) if as_json else __version__)


for command in (
    run_command,
    check_config,
    show_config,
    schema,
    validate,
    rehearse_command,
    lag,
    top,
    why,
    dlq,
    parked,
    sandbox,
    demo,
):
    cli.add_command(command)
