"""The commands `demo` and `sandbox`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from worker.cli.output import console
from worker.errors import ExitCode
from worker.sandbox.demo import DemoOptions, run_demo
from worker.sandbox.emulator.faults import PlanError
from worker.sandbox.emulator.server import Emulator, EmulatorOptions

# What a shell reports for a process ended by SIGINT.
INTERRUPTED = 130


@click.command("demo")
@click.option("--bootstrap-servers", help="Use these brokers; do not start Apache Kafka.")
@click.option(
    "--count",
    default=100_000,
    show_default=True,
    type=click.IntRange(100, 10_000_000),
    help="Number of events to publish.",
)
@click.option("--keep", is_flag=True, help="Leave everything running and print the addresses.")
def demo(bootstrap_servers: str | None, count: int, keep: bool) -> None:
    """Deliver sample events on this machine.

    Starts Apache Kafka, an emulator of the Post API and a worker. Publishes events, lets the API
    fail for a while, and checks that every event was delivered once or is accounted for.

    Example: appmetrica-worker demo --keep
    """
    try:
        sys.exit(run_demo(DemoOptions(count, bootstrap_servers, keep), console()))
    except KeyboardInterrupt:
        click.echo("Stopped; nothing is left running.", err=True)
        sys.exit(INTERRUPTED)


@click.command("sandbox")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 picks a free port.",
)
@click.option(
    "--application",
    "applications",
    multiple=True,
    metavar="ID=KEY",
    help="An application and its key; repeatable. Default: 1111=sandbox-key.",
)
@click.option(
    "--faults",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file with the faults to inject; README.md lists their kinds and fields.",
)
def sandbox(host: str, port: int, applications: tuple[str, ...], faults: Path | None) -> None:
    """Run an emulator of the Post API.

    It checks requests by the rules of the API's documentation, and lists the rows that it accepted:
    for tests of producers and workers.

    Example: appmetrica-worker sandbox --application 1111=secret
    """
    keys = dict(map(_application, applications)) or {1111: "sandbox-key"}
    plan = faults.read_text(encoding="utf-8") if faults is not None else "[]"
    try:
        asyncio.run(_serve(EmulatorOptions(keys=keys, host=host, port=port), plan))
    except OSError as error:
        click.echo(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --port", err=True
        )
        sys.exit(ExitCode.UNAVAILABLE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _application(text: str) -> tuple[int, str]:
    identifier, _, key = text.partition("=")
    if not identifier.isdigit() or not key:
        raise click.BadParameter(f"{text!r} is not ID=KEY", param_hint="--application")
    return int(identifier), key


async def _serve(options: EmulatorOptions, plan: str) -> None:
    async with Emulator(options) as emulator:
        try:
            emulator.plan_from_json(plan)
        except PlanError as error:
            raise click.BadParameter(str(error), param_hint="--faults") from None
        click.echo(f"The Post API emulator listens on {emulator.base_url}")
        for application, key in options.keys.items():
            click.echo(f"  application {application} has the key {key}")
        click.echo(f"  ledger   curl {emulator.base_url}/_emulator/ledger")
        example = '[{"kind": "status", "status": 503, "seconds": 10}]'
        click.echo(f"  fault    curl -X PUT {emulator.base_url}/_emulator/faults -d '{example}'")
        await asyncio.Event().wait()
