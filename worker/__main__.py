"""Entry point: `appmetrica-worker`, `python -m worker`. Every end becomes an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import NoReturn

from worker.daemon.signals import LAST_LINE_SECONDS_MAX, Signals
from worker.errors import ExitCode, WorkerError

# Errors of a disk or a quota, not of this program.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main() -> None:
    """Run the command line; exits with one of `ExitCode`."""
    _hold_standard_streams()
    signals = Signals()
    signals.install()
    # Imports make next to no garbage, and the collector would look for it a hundred times. `cli`
    # switches it on again.
    gc.disable()
    try:
        # Imported only now: it takes time, in which a signal must not be lost.
        from worker.cli.main import cli

        cli(obj=signals)
    except WorkerError as error:
        _fail(error)
    except ImportError as error:
        # Costs nothing where all is well, and imports nothing of aiokafka itself.
        from worker.edges.kafka.aiokafka_internals import explain_import

        explained = explain_import(error)
        if explained is None:
            _crash(error)
        _fail(explained)
    except (SystemExit, KeyboardInterrupt):
        raise
    except OSError as error:
        if error.errno not in FULL:
            _crash(error)
        detail = f"can't write: {error.strerror}"
        if not _log("run_failed", {"exit_code": ExitCode.UNAVAILABLE, "detail": detail}):
            _print_line(detail)
        # The rest of the buffer is dropped: otherwise the interpreter tries again, and ends with
        # its own exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.UNAVAILABLE)
    except BaseException as error:  # noqa: BLE001  # the only place: a bug is logged without secrets, and the process ends
        _crash(error)


def _fail(error: WorkerError) -> NoReturn:
    if not _log("run_failed", {"exit_code": error.exit_code, "detail": str(error)}):
        _print_line(str(error))
    sys.exit(error.exit_code)


def _crash(error: BaseException) -> NoReturn:
    if not _log("crashed", {"exit_code": ExitCode.INTERNAL}, error):
        _print_stack(error)
    sys.exit(ExitCode.INTERNAL)


def _log(event: str, fields: dict[str, object], error: BaseException | None = None) -> bool:
    """Write one line to the log, redacted.

    Returns:
        False where no log is configured: not yet, or in a tool.
    """
    import logging

    from worker.edges.telemetry.logs import LogHandler

    is_open = any(isinstance(handler, LogHandler) for handler in logging.getLogger().handlers)
    if is_open:
        logging.getLogger("worker").error(event, extra=fields, exc_info=error)
    return is_open


def _print_stack(error: BaseException) -> None:
    import traceback

    from worker.edges.telemetry.redaction import Redactor

    _print_line(Redactor(()).redact("".join(traceback.format_exception(error))).rstrip())


def _print_line(text: str) -> None:
    """Write the last line to standard error, without the log.

    A reader that has stopped doesn't delay the end of the process.
    """
    from worker.edges.telemetry.log_writer import LineWriter

    writer = LineWriter(2, str)
    writer.write(text)
    writer.flush(LAST_LINE_SECONDS_MAX)


def _hold_standard_streams() -> None:
    """Replace a closed standard input, output or error by the null device.

    Otherwise the next opened file or socket would get its number, and messages would be written
    into that.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest free number: this descriptor.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # The streams' files are never closed: like the interpreter's own, they last as long as the
    # process.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    main()
