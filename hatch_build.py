"""Builds the compiled pass of the intake into the wheel, where Cython and a C compiler are there.

Without them the wheel is pure Python: it does the same, and takes more CPU. With the environment
variable APPMETRICA_WORKER_PURE it is pure everywhere. `python hatch_build.py` builds the compiled
pass in place, for a work tree; with `--required` it fails where it can't.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("worker/core/intake/compiled_pass.pyx")
PURE = "APPMETRICA_WORKER_PURE"


class UnavailableError(Exception):
    """The compiled pass can't be built here; the message says why."""


class CompiledPassHook(BuildHookInterface[Any]):
    """Adds the compiled pass to a wheel; a work tree builds its own (`make setup`)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build it, or say in one line why the wheel is pure Python."""
        if self.target_name != "wheel" or version == "editable":
            return
        directory = Path(tempfile.mkdtemp(prefix="compiled-pass-"))
        try:
            built = build(Path(self.root), directory)
        except UnavailableError as error:
            self.app.display_warning(f"{error}: the wheel is pure Python, and slower")
            return
        build_data["pure_python"], build_data["infer_tag"] = False, True
        build_data["force_include"][str(built)] = str(SOURCE.with_name(built.name))


def build(root: Path, directory: Path) -> Path:
    """The extension of this interpreter in the directory.

    Raises:
        UnavailableError: something is missing, or it isn't wanted.
    """
    if os.environ.get(PURE):
        raise UnavailableError(f"{PURE} is set")
    try:
        from Cython.Compiler.Main import compile as to_c
        from Cython.Compiler.Options import CompilationOptions
    except ImportError as error:
        raise UnavailableError("Cython is not installed") from error
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = directory / f"{SOURCE.stem}{suffix}"
    with tempfile.TemporaryDirectory() as scratch:
        generated = Path(scratch) / f"{SOURCE.stem}.c"
        result = to_c(str(root / SOURCE), CompilationOptions(output_file=str(generated)))
        if result.num_errors:
            raise SystemExit(f"{SOURCE} has errors")
        _run_compiler(generated, target, sha256((root / SOURCE).read_bytes()).hexdigest())
    return target


def _run_compiler(generated: Path, target: Path, digest: str) -> None:
    variables = ("LDSHARED", "CFLAGS", "CCSHARED")
    words = [word for name in variables for word in shlex.split(_variable(name))]
    # The interpreter's own flags ask for debug information: three times the size.
    words += ["-g0", *shlex.split(os.environ.get("CFLAGS", ""))]
    words += [f"-I{sysconfig.get_path('include')}", f'-DSOURCE_DIGEST="{digest}"']
    try:
        done = subprocess.run(
            [*words, str(generated), "-o", str(target)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"no C compiler ({words[0]})") from error
    if done.returncode != 0:
        if "Python.h" in done.stderr:
            raise UnavailableError("the header files of Python are not installed")
        raise SystemExit(f"{shlex.join(words)} fails:\n{done.stderr}")


def _variable(name: str) -> str:
    return str(sysconfig.get_config_var(name) or "")


def main(arguments: list[str]) -> int:
    """Build in place."""
    root = Path(__file__).parent
    try:
        built = build(root, root / SOURCE.parent)
    except UnavailableError as error:
        for stale in (root / SOURCE.parent).glob(f"{SOURCE.stem}.*.so"):
            stale.unlink()
        print(f"The intake runs as pure Python, slower: {error}.", file=sys.stderr)
        return 1 if "--required" in arguments else 0
    print(f"compiled: {built.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
