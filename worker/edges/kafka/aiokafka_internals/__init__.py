"""Every private name of aiokafka that the project touches.

And every request that it defines itself, because aiokafka has none or an older version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version

from worker.errors import UnavailableError

_MISSING_NAME = re.compile(r"cannot import name '(\w+)'")


def wrong_release(missing: Iterable[str]) -> UnavailableError:
    """Return the error for an installed aiokafka that lacks these names."""
    return UnavailableError(
        f"aiokafka {version('aiokafka')} lacks {', '.join(missing)}, which the worker uses: "
        "install the release of aiokafka that the worker's lock file names"
    )


def explain_import(error: ImportError) -> UnavailableError | None:
    """Return the error for a part that aiokafka lacks; None for any other failed import.

    `expected_names.check` can't report these: they are missing before it can run.
    """
    module = error.name or ""
    if module.partition(".")[0] != "aiokafka" or module == "aiokafka":
        return None
    name = _MISSING_NAME.match(str(error))
    return wrong_release([f"{module}.{name[1]}" if name else module])
