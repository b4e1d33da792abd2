"""Entry point: `appmetrica-worker`, `python -m worker`. Turns every end into an exit code."""

from __future__ import annotations

import errno
import os
import sys
from typing import NoReturn

from worker.daemon.signals import LAST_WORDS_SECONDS_MAX, Signals
from worker.errors import ExitCode, WorkerError

# What a disk says, or a quota: no fault of this program's.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Run the command line; exits with one of `ExitCode`."""
    _hold_standard_streams()
    signals = Signals()
    signals.install()
    try:
        # Only now: what the commands need takes a second to import, in which a signal must not be
        # lost.
        from worker.cli.main import cli

        cli(obj=signals)
    except WorkerError as error:
        if not _log("run_failed", {"exit_code": error.exit_code, "detail": str(error)}):
            _say(str(error))
        sys.exit(error.exit_code)
    except (SystemExit, KeyboardInterrupt):
        raise
    except OSError as error:
        if error.errno not in FULL:
            _crash(error)
        detail = f"can't write: {error.strerror}"
        if not _log("run_failed", {"exit_code": ExitCode.UNAVAILABLE, "detail": detail}):
            _say(detail)
        # What is left in the buffer is given up: else the interpreter tries again, and ends with an
        # exit code of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.UNAVAILABLE)
    except BaseException as error:  # noqa: BLE001  # the one place: our own fault, told without secrets, and the process ends
        _crash(error)


def _crash(error: BaseException) -> NoReturn:
    if not _log("crashed", {"exit_code": ExitCode.INTERNAL}, error):
        _say_stack(error)
    sys.exit(ExitCode.INTERNAL)


def _log(event: str, fields: dict[str, object], error: BaseException | None = None) -> bool:
    """One line in the log, in its format and without the secrets it knows; False where there is no
    log: yet, or for a tool.
    """
    import logging

    from worker.edges.telemetry.logs import LogHandler

    is_open = any(isinstance(handler, LogHandler) for handler in logging.getLogger().handlers)
    if is_open:
        logging.getLogger("worker").error(event, extra=fields, exc_info=error)
    return is_open


def _say_stack(error: BaseException) -> None:
    import traceback

    from worker.edges.telemetry.redaction import Redactor

    _say(Redactor(()).redact("".join(traceback.format_exception(error))).rstrip())


def _say(text: str) -> None:
    """The last word, whatever has become of the log.

    It doesn't keep the process from ending, whoever reads it.
    """
    from worker.edges.telemetry.log_writer import LineWriter

    writer = LineWriter(2, str)
    writer.write(text)
    writer.flush(LAST_WORDS_SECONDS_MAX)


def _hold_standard_streams() -> None:
    """Where standard input, output or error is closed, it is the null device from now on.

    Else the next file or socket to be opened would get its number, and what is meant for people
    would be written into that.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is given out, so it is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # The streams' files are never closed: like the interpreter's own, they last as long as the
    # process.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
