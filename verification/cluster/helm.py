"""The command `helm` of docs/install.md, with the engine of Helm 4 as a library.

`python -m verification.cluster.helm ADDED COMMAND…`: the values of the JSON file ADDED are put on
top of those of the command. An option that the page doesn't use is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.install.chart import merged

ACTION_SECONDS_MAX = 180


def parser() -> argparse.ArgumentParser:
    """The options that the page uses."""
    found = argparse.ArgumentParser(prog="helm")
    found.add_argument("added", type=Path)
    commands = found.add_subparsers(dest="command", required=True)
    for name in ("install", "upgrade", "rollback", "uninstall", "test"):
        command = commands.add_parser(name)
        command.add_argument("release")
        command.add_argument("--namespace", required=True)
        if name in ("install", "upgrade"):
            command.add_argument("chart", type=Path)
            command.add_argument("--values", type=Path, action="append", default=[])
        if name in ("install", "upgrade", "rollback"):
            command.add_argument("--wait", action="store_const", const="watcher")
        if name == "test":
            command.add_argument("--logs", action="store_true")
    return found


def run(options: argparse.Namespace) -> str:
    """Carry the command out, and return what it prints."""
    timeout: dict[str, Any] = {"timeout": ACTION_SECONDS_MAX}
    with helm_python.Config(namespace=options.namespace) as helm:
        match options.command:
            case "install" | "upgrade":
                layers = [yaml.safe_load(file.read_text()) for file in options.values]
                values = merged(*layers, json.loads(options.added.read_text()))
                act = helm.install if options.command == "install" else helm.upgrade
                act(options.chart, options.release, values, wait=options.wait, **timeout)
                return str(helm.get_all(options.release)["info"]["notes"])
            case "rollback":
                helm.rollback(options.release, wait=options.wait, **timeout)
                return "rolled back"
            case "uninstall":
                return str(helm.uninstall(options.release, **timeout)["info"])
            case _:
                return str(helm.test(options.release, logs=options.logs, **timeout)["logs"])


def main() -> int:
    """Print Helm's output, or the reason of its refusal."""
    try:
        sys.stdout.write(run(parser().parse_args()) + "\n")
    except helm_python.HelmError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
