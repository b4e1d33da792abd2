"""Entry point: `appmetrica-worker`, `python -m worker`. Turns every end into an exit code."""

from __future__ import annotations

import sys

from worker.errors import ExitCode, WorkerError
from worker.signals import Signals


def main() -> None:
    """Run the command line; exits with one of `ExitCode`."""
    signals = Signals()
    signals.install()
    try:
        # Only now: what the commands need takes a second to import, in which a signal must not be lost.
        from worker.cli.main import cli

        cli(obj=signals)
    except WorkerError as error:
        print(error, file=sys.stderr)  # noqa: T201  # the last word, whatever became of the logs
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001  # the one place: our own fault, told without secrets, and the process ends
        import traceback

        from worker.edges.redaction import Redactor

        print(Redactor(()).redact(traceback.format_exc()), file=sys.stderr)  # noqa: T201
        sys.exit(ExitCode.INTERNAL)


if __name__ == "__main__":
    main()
