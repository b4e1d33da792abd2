"""Says where the time of a running worker goes, by function: samples it with py-spy.

    python -m bench.profile [--seconds 10] [--shape rich] [--top 40]

A function's own share is where the time is spent, its whole share includes what it calls.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.broker_stage import Sizes, Stage
from bench.contenders import WORKER, running
from bench.events import SHAPES
from bench.publishing import Records
from bench.receiver import Receiver
from worker.sandbox.kafka import KafkaCluster

EVENTS_PER_SECOND_MAX = 120_000
SAMPLES_PER_SECOND = 200
# Where threads wait: with C functions, py-spy takes a thread that waits for one that runs.
WAITS = ("_queue_SimpleQueue_get_impl", "select_select_impl", "select_epoll_poll_impl")


def shares(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """The samples by function: in which it was the innermost, and in which it was at all.

    Args:
        stacks: lines of collapsed stacks, `outer;inner 12`.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        # Without the line number: `name (file.py:12)`.
        frames = [frame.rpartition(":")[0] + ")" for frame in stack.split(";") if ":" in frame]
        if not frames or frames[-1].startswith(WAITS):
            continue
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
    return own, whole


def table(stacks: Iterable[str], top: int) -> str:
    """The functions with the largest shares of their own."""
    own, whole = shares(stacks)
    total = max(1, own.total())
    lines = ["   own  whole  function"]
    lines += [
        f"{count / total:6.1%} {whole[name] / total:6.1%}  {name}"
        for name, count in own.most_common(top)
    ]
    return "\n".join(lines)


def record(pid: int, seconds: int, file: Path) -> None:
    """Sample a process, C functions included."""
    py_spy = str(Path(sys.executable).with_name("py-spy"))
    command = [py_spy, "record", "--pid", str(pid), "--duration", str(seconds), "--native"]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--output", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Run a worker at full speed, and print where its time goes."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--shape", choices=SHAPES, default="rich")
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--events", type=int, help="how many are published; default: enough")
    options = parser.parse_args()
    count = options.events or options.seconds * EVENTS_PER_SECOND_MAX
    with KafkaCluster() as kafka, tempfile.TemporaryDirectory() as directory:
        feed = Stage(kafka.bootstrap_servers, Sizes()).feed(Records(options.shape, count))
        file = Path(directory) / "stacks"
        with Receiver() as receiver, running(WORKER, feed, receiver.base_url) as worker:
            worker.await_assignment()
            time.sleep(0.2)
            record(worker.pid, options.seconds, file)
        print(table(file.read_text(encoding="utf-8").splitlines(), options.top))


if __name__ == "__main__":
    main()
