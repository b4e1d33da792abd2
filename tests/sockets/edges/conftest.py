"""A certificate for the servers of these tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import aiohttp.connector
import pytest


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key, trusted by this process."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command + names, check=True, capture_output=True)
    # aiohttp creates its context when it is imported: environment variables come too late.
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(chain)
    return chain, key
