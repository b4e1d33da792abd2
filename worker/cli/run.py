"""The command that does the work."""

from __future__ import annotations

import asyncio
import logging
import sys

import click

from worker.cli.options import with_configuration
from worker.daemon.app import Process, run
from worker.daemon.signals import Signals
from worker.edges.container_memory import memory_limit_bytes
from worker.edges.telemetry.logs import configure_logging, log_stray_exceptions
from worker.settings.load import Loaded
from worker.tools.connection_check import CheckResult
from worker.tools.memory_check import judge_memory

logger = logging.getLogger("worker.run")

# A Service has seven variables and more for each of its ports: the first ones say which Service it
# is.
NAMES_MAX = 10


@click.command("run")
@with_configuration
@click.pass_obj
def run_command(signals: Signals, loaded: Loaded) -> None:
    """Read events from Kafka and deliver them to the Post API. Drains and stops on SIGTERM, SIGINT
    and SIGHUP.

    Example: appmetrica-worker run --config config.yaml
    """
    settings = loaded.settings
    journal = configure_logging(settings.log.format, settings.log.level, loaded.secrets())
    log_stray_exceptions()
    _log_surroundings(loaded)
    process = Process(settings, loaded.config_hash(), journal, signals)
    sys.exit(asyncio.run(run(process)))


def _log_surroundings(loaded: Loaded) -> None:
    """What an operator should know of the environment before it matters."""
    if loaded.ignored:
        logger.info(
            "service_links_ignored",
            extra={"variables": sorted(loaded.ignored)[:NAMES_MAX], "count": len(loaded.ignored)},
        )
    memory = judge_memory(loaded.settings, memory_limit_bytes())
    if memory.standing is not CheckResult.OK:
        logger.warning("container_memory_low", extra={"detail": memory.detail})
