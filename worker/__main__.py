"""Entry point: `appmetrica-worker`, `python -m worker`. Turns every end into an exit code."""

from __future__ import annotations

import sys
import traceback

from worker.cli.main import cli
from worker.edges.redaction import Redactor
from worker.errors import ExitCode, WorkerError


def main() -> None:
    """Run the command line; exits with one of `ExitCode`."""
    try:
        cli()
    except WorkerError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the last word, whatever became of the logs
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001  # the one place: our own fault, told without secrets, and the process ends
        print(Redactor(()).redact(traceback.format_exc()), file=sys.stderr)  # noqa: T201
        sys.exit(ExitCode.INTERNAL)


if __name__ == "__main__":
    main()
