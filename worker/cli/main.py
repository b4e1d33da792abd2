"""The command line `appmetrica-worker COMMAND`, with the command `version`."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import MappingProxyType
from typing import Any

import click

from worker import __version__
from worker.daemon.signals import Signals
from worker.errors import INTERRUPTED

RUN = "run"
# The function of each command, and its module in `worker.cli`.
_COMMANDS = MappingProxyType(
    {
        RUN: ("daemon", "run_command"),
        "check-config": ("configuration", "check_config"),
        "show-config": ("configuration", "show_config"),
        "schema": ("configuration", "schema"),
        "validate": ("validate", "validate"),
        "rehearse": ("rehearse", "rehearse_command"),
        "lag": ("lag", "lag"),
        "top": ("top", "top"),
        "why": ("why", "why"),
        "dlq": ("dead_letters", "dlq"),
        "parked": ("dead_letters", "parked"),
        "sandbox": ("sandbox", "sandbox"),
        "demo": ("sandbox", "demo"),
    }
)


class CommandLine(click.Group):
    """A group that imports a command's module when the command is needed.

    So the start of the worker doesn't wait for the imports of the tools: a quarter of its CPU.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, for the help."""
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None: there is none."""
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, function = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"worker.cli.{module}"), function)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Ctrl-C ends each with the same exit code; click's own is 1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


@click.group(
    cls=CommandLine,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="appmetrica-worker")
@click.pass_context
def cli(context: click.Context) -> None:
    """Deliver offline events from Kafka to the AppMetrica Post API.

    Each valid event is delivered at least once, and every record is accounted for.
    """
    signals = context.find_object(Signals)
    if signals is None:
        return
    # The entry point has switched the collector off, and the command is imported by now. What it
    # has imported stays: no collection need visit it.
    gc.freeze()
    gc.enable()
    # All other commands react to signals as terminal programs do.
    if context.invoked_subcommand != RUN:
        signals.give_back()


@cli.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Print the version.

    With --json also the form of the intake's fast pass: compiled, or python.
    """
    if not as_json:
        click.echo(__version__)
        return
    import orjson

    from worker.core.intake.pass_choice import PASS_FORM

    click.echo(orjson.dumps({"version": __version__, "fast_pass": PASS_FORM}))
