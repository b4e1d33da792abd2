"""The fuzzer: `python -m verification.fuzz --count 1000000 --seed 1`.

With `--atheris` coverage guides the mutations.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from rich.console import Console
from rich.progress import Progress

from verification.fuzz.checking import Variant, check, route_for, variants
from verification.fuzz.mutations import BINARY, Mutator
from worker.core.intake.pass_choice import PASS_FORM
from worker.core.model.row import Row

STEP = 1000


def main() -> int:
    """Fuzz; 0 if everything held, 1 after showing the value that broke a rule."""
    parser = argparse.ArgumentParser(prog="python -m verification.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="number of values")
    parser.add_argument("--seed", type=int, default=1, help="seed of the values")
    parser.add_argument("--atheris", action="store_true", help="let coverage guide the mutations")
    arguments = parser.parse_args()
    if arguments.atheris:
        return _guided(arguments.count, arguments.seed)
    return _mutated(arguments.count, arguments.seed)


def _mutated(count: int, seed: int) -> int:
    console = Console(stderr=True)
    mutator, chance, routes = Mutator(seed), random.Random(seed), variants()
    rows, started = 0, time.monotonic()
    with Progress(console=console) as progress:
        task = progress.add_task("fuzzing", total=count)
        for number in range(count):
            kind, value, headers = mutator.draw()
            variant = route_for(kind, chance, routes)
            try:
                rows += isinstance(check(variant, value, headers), Row)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                console.print(
                    _report(variant, number, seed, value, headers, error),
                    highlight=False,
                    soft_wrap=True,
                )
                return 1
            if number % STEP == 0:
                progress.update(task, completed=number)
    seconds = time.monotonic() - started
    console.print(
        f"{count:,} values, {rows:,} of them rows, {len(routes)} routes, fast pass {PASS_FORM}: "
        f"everything held ({seconds:.0f} s)",
        highlight=False,
    )
    return 0


def _guided(count: int, seed: int) -> int:
    try:
        import atheris
    except ImportError:
        Console(stderr=True).print(
            "atheris is not installed: pip install '.[fuzz]' (Linux on x86-64)", markup=False
        )
        return 69
    # The intake is imported already: its loaded code is instrumented.
    atheris.instrument_all()
    routes, seeds = variants(), Mutator(seed)

    def one(data: bytes) -> None:
        if len(data) > 1:
            check(routes[data[0] % len(routes)], data[2:], BINARY if data[1] % 4 == 0 else ())

    def mutate(data: bytes, size_max: int, number: int) -> bytes:
        if number % 4 == 0:
            return (data[:2] + seeds.draw()[1])[:size_max]
        return bytes(atheris.Mutate(data, size_max))

    atheris.Setup(
        [sys.argv[0], f"-runs={count}", f"-seed={seed}", "-max_len=8192"],
        one,
        custom_mutator=mutate,
    )
    atheris.Fuzz()
    return 0


def _report(
    variant: Variant, number: int, seed: int, value: bytes, headers: object, error: Exception
) -> str:
    return (
        f"seed {seed}, value {number}, route "
        f"{variant.name}\n{value!r}\n{headers!r}\n{type(error).__name__}: {error}"
    )


if __name__ == "__main__":
    sys.exit(main())
