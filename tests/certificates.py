"""Certificates and keys made with the openssl command, for tests of what reads them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "the right password"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files: a certificate, its key (plain, and encrypted by a password), and another key."""

    certificate: Path
    key: Path
    encrypted_key: Path
    other_key: Path


def make_certificates(directory: Path, password: str = PASSWORD) -> Certificates:
    """Write them into the directory."""
    for name in ("own", "other"):
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem"),
        )  # fmt: skip
    _openssl(
        "pkcs8", "-topk8", "-in", str(directory / "own.key"), "-passout", f"pass:{password}",
        "-out", str(directory / "encrypted.key"),
    )  # fmt: skip
    return Certificates(
        directory / "own.pem",
        directory / "own.key",
        directory / "encrypted.key",
        directory / "other.key",
    )


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
