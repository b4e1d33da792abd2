"""Prometheus as a child process, with the alerts: for the demo and the tests of the dashboards."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import yaml

from worker.errors import UnavailableError
from worker.sandbox.kafka import free_ports
from worker.sandbox.processes import start_process

# In a checkout of the repository; the package has no alerts.
RULES = Path(__file__).parents[2] / "helm" / "files" / "alerts.yaml"
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class PrometheusOptions:
    """The options of a Prometheus.

    Attributes:
        directory: an existing directory for its configuration, data and log.
        scrape_seconds: the interval of scrapes and of the evaluation of rules.
    """

    directory: Path
    scrape_seconds: int = 5


class PrometheusServer:
    """A Prometheus that scrapes workers and evaluates the alerts."""

    def __init__(self, options: PrometheusOptions) -> None:
        self._options = options
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        """True if there is a command `prometheus`, as in Debian's package of that name."""
        return shutil.which("prometheus") is not None

    @property
    def url(self) -> str:
        """The address of its page and of its HTTP API."""
        return f"http://127.0.0.1:{self._port}"

    def scrape(self, workers: Mapping[str, Sequence[str]]) -> None:
        """Replace the workers to be scraped: by job, the URLs of their admin ports."""
        groups = [
            {"labels": {"job": job}, "targets": [urlsplit(url).netloc for url in urls]}
            for job, urls in workers.items()
        ]
        written = self._options.directory / "targets.json.new"
        written.write_text(json.dumps(groups), encoding="utf-8")
        # Prometheus never reads half of a file.
        written.rename(self._options.directory / "targets.json")

    async def start(self) -> None:
        """Start it, from the main thread, and wait until it is ready.

        Raises:
            UnavailableError: it is not installed, ended, or did not become ready in time.
        """
        directory = self._options.directory
        command = shutil.which("prometheus")
        if command is None:
            raise UnavailableError("prometheus is missing: install Debian's package prometheus")
        configuration = directory / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(self._configuration()), encoding="utf-8")
        with (directory / "prometheus.log").open("ab") as log:
            self._process = start_process(
                [
                    command,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--log.level=warn",
                ],
                log,
            )
        await self._await_ready(self._process)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(round(READY_SECONDS_MAX / POLL_SECONDS)):
                if process.poll() is not None:
                    break
                try:
                    async with session.get(f"{self.url}/-/ready") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
        log = (self._options.directory / "prometheus.log").read_text(errors="replace")
        raise UnavailableError(f"prometheus did not become ready: {log[-500:]}")

    def _configuration(self) -> dict[str, object]:
        interval = f"{self._options.scrape_seconds}s"
        return {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(RULES)] if RULES.exists() else [],
            "scrape_configs": [
                {
                    "job_name": "workers",
                    "scrape_timeout": interval,
                    "file_sd_configs": [
                        {
                            "files": [str(self._options.directory / "targets.json")],
                            "refresh_interval": interval,
                        }
                    ],
                }
            ],
        }
