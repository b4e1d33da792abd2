"""Crashes of workers, whoever swallows them.

A mutant that no longer fits the worker makes it crash: it calls a function with other arguments, or
asks for an attribute that isn't there. That shows nothing of the safeguard. But an invariant may
fail afterwards, because aiokafka has caught the error in a callback of ours and goes on, or because
the worker has died half way through an event. So these errors are noted where they come up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The errors of code that doesn't fit. The world's faults, and violations, are of other classes.
OF_PROGRAMS = (AttributeError, NameError, TypeError)
_REPORTED = re.compile(r": (?:AttributeError|NameError|TypeError|UnboundLocalError)\(")


class Crashes:
    """The crashes of one history, in order."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, error: BaseException | None) -> None:
        """Note an error, or those of a group, if the program is at fault."""
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                self.note(member)
        elif isinstance(error, OF_PROGRAMS):
            self.found.append(f"{type(error).__name__}: {error}")

    def note_complaints(self, complaints: Iterable[str]) -> None:
        """Note the errors of tasks and callbacks that nobody awaits, as the loop reports them."""
        self.found.extend(one for one in complaints if _REPORTED.search(one))

    async def noted(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this work, and note the error that it ends with."""
        try:
            await work
        except BaseException as error:
            self.note(error)
            raise


@contextmanager
def swallowed_errors_noted(crashes: Crashes) -> Iterator[None]:
    """Note the errors that aiokafka catches in its own tasks and only logs."""

    class NotingHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                crashes.note(record.exc_info[1])

    handler = NotingHandler(logging.ERROR)
    logger = logging.getLogger("aiokafka")
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        logger.setLevel(level)


def unexpected(complaints: Sequence[str], *, may_be_unclosed: bool) -> list[str]:
    """The complaints of the loop that are faults of the worker.

    A commit that has run out of time goes on inside aiokafka, which shields it; its end is of no
    consequence. Where a client is given up while it asks its first broker, that connection is
    closed by its finaliser, which warns. A worker that was killed has closed nothing.
    """
    known = (
        "GroupCoordinator._do_commit_offsets",
        "Unclosed AIOKafkaConnection",
        *(("Unclosed AIOKafka", "Sender._sender_routine") if may_be_unclosed else ()),
    )
    return [complaint for complaint in complaints if not any(name in complaint for name in known)]
