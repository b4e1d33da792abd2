"""The command `run`: the worker itself."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from worker.cli.loading import require_extras, with_configuration
from worker.core import intake
from worker.core.intake.pass_choice import PASS_FORM
from worker.daemon.app import Process, run
from worker.daemon.signals import Signals
from worker.edges.container_memory import memory_limit_bytes
from worker.edges.post_api.reachability import proxy_passwords
from worker.edges.telemetry.logs import configure_logging, log_stray_exceptions
from worker.settings.load import Loaded
from worker.tools.environment_check import CheckResult, check_fast_pass, check_memory

logger = logging.getLogger("worker.run")

# Kubernetes sets seven variables for a Service and more for each further port: the first names are
# enough to recognise the Service.
NAMES_MAX = 10


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
    """Log what is unusual: Service variables, a low memory limit, an unused compiled pass."""
    if loaded.ignored:
        logger.info(
            "service_links_ignored",
            extra={"variables": sorted(loaded.ignored)[:NAMES_MAX], "count": len(loaded.ignored)},
        )
    memory = check_memory(loaded.settings, memory_limit_bytes())
    if memory.result is not CheckResult.OK:
        logger.warning("container_memory_low", extra={"detail": memory.detail})
    fast_pass = check_fast_pass(PASS_FORM, Path(*intake.__path__))
    if fast_pass.result is not CheckResult.OK:
        logger.warning("compiled_pass_not_usable", extra={"detail": fast_pass.detail})
