"""The commands `demo` and `sandbox`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from worker.cli.output import console
from worker.errors import INTERRUPTED, ExitCode
from worker.sandbox.demo import DemoOptions, run_demo
from worker.sandbox.emulator.faults import PlanError
from worker.sandbox.emulator.server import Emulator, EmulatorOptions

_APPLICATION = re.compile(r"([1-9][0-9]{0,18})=(.+)", re.DOTALL)


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
    keys = _keys(applications) or {1111: "sandbox-key"}
    plan = _plan(faults) if faults is not None else "[]"
    try:
        asyncio.run(_serve(EmulatorOptions(keys=keys, host=host, port=port), plan))
    except OSError as error:
        click.echo(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another --host or --port",
            err=True,
        )
        sys.exit(ExitCode.UNAVAILABLE)


def _keys(applications: Iterable[str]) -> dict[int, str]:
    keys: dict[int, str] = {}
    for text in applications:
        match = _APPLICATION.fullmatch(text)
        if match is None:
            message = f"{text!r} is not ID=KEY, with a positive integer as ID"
            raise click.BadParameter(message, param_hint="--application")
        if int(match[1]) in keys:
            message = f"application {match[1]} is given twice"
            raise click.BadParameter(message, param_hint="--application")
        keys[int(match[1])] = match[2]
    return keys


def _plan(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8 at byte {error.start}"
    except OSError as error:
        message = f"{file} can't be read: {error.strerror}"
    raise click.BadParameter(message, param_hint="--faults")


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
