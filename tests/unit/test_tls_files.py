"""The files of TLS: what is wrong with which, and no question at the terminal."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import PASSWORD, Certificates, make_certificates
from worker.tls_files import TlsFiles, TlsFilesError, faults_of, tls_context

DAMAGED = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"
CONTENTS = {
    "empty": "\n",
    "garbage": "hello",
    "damaged.pem": DAMAGED.format("CERTIFICATE"),
    "damaged.key": DAMAGED.format("PRIVATE KEY"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", autouse=True)
def few_authorities(made: Certificates) -> Iterator[None]:
    """One authority in place of the system's 140, which take longer to load than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(made.certificate))
        patch.setenv("SSL_CERT_DIR", str(made.certificate.parent))
        yield


@pytest.fixture(scope="module")
def directory(made: Certificates) -> Path:
    directory = made.certificate.parent
    for name, text in CONTENTS.items():
        (directory / name).write_text(text)
    (directory / "half.pem").write_text(
        made.certificate.read_text() + made.certificate.read_text()[:200]
    )
    (directory / "both.pem").write_text(made.certificate.read_text() + made.key.read_text())
    return directory


def files(
    directory: Path,
    *,
    ca: str | None = None,
    own: str | None = None,
    key: str | None = None,
    word: str | None = None,
) -> TlsFiles:
    ca_file, certificate_file, key_file = (
        directory / name if name is not None else None for name in (ca, own, key)
    )
    return TlsFiles(ca_file, certificate_file, key_file, word)


@pytest.mark.parametrize(
    ("given", "setting", "named", "message"),
    [
        ({"ca": "none"}, "ssl_ca_file", "none", "can't be read: No such file or directory"),
        ({"ca": "empty"}, "ssl_ca_file", "empty", "is empty"),
        ({"ca": "garbage"}, "ssl_ca_file", "garbage", "holds no certificate in PEM form"),
        ({"ca": "own.key"}, "ssl_ca_file", "own.key", "holds no certificate in PEM form"),
        ({"ca": "damaged.pem"}, "ssl_ca_file", "damaged.pem", "holds a damaged certificate"),
        ({"ca": "half.pem"}, "ssl_ca_file", "half.pem", "holds a damaged certificate"),
        ({"ca": "."}, "ssl_ca_file", "", "is not a file"),
        ({"own": "none", "key": "own.key"}, "ssl_certificate_file", "none", "can't be read"),
        (
            {"own": "damaged.pem", "key": "own.key"},
            "ssl_certificate_file",
            "damaged.pem",
            "holds a damaged certificate",
        ),
        (
            {"own": "own.pem"},
            "ssl_certificate_file",
            "own.pem",
            "holds no private key in PEM form: set ssl_key_file",
        ),
        ({"own": "own.pem", "key": "none"}, "ssl_key_file", "none", "can't be read"),
        ({"own": "own.pem", "key": "empty"}, "ssl_key_file", "empty", "is empty"),
        (
            {"own": "own.pem", "key": "garbage"},
            "ssl_key_file",
            "garbage",
            "holds no private key in PEM form",
        ),
        (
            {"own": "own.pem", "key": "damaged.key"},
            "ssl_key_file",
            "damaged.key",
            "holds a damaged private key",
        ),
        (
            {"own": "own.pem", "key": "other.key"},
            "ssl_key_file",
            "other.key",
            "is not the key of the certificate",
        ),
        (
            {"own": "own.pem", "key": "encrypted.key"},
            "ssl_key_file",
            "encrypted.key",
            "is encrypted: set ssl_key_password",
        ),
        (
            {"own": "own.pem", "key": "encrypted.key", "word": "hidden"},
            "ssl_key_password",
            "encrypted.key",
            "doesn't open",
        ),
        (
            {"own": "own.pem", "key": "encrypted.key", "word": "hidden" * 300},
            "ssl_key_password",
            "encrypted.key",
            "doesn't",
        ),
    ],
)
def test_a_file_of_no_use_is_named_with_its_setting_and_what_is_wrong(
    directory: Path, given: dict[str, str], setting: str, named: str, message: str
) -> None:
    (fault,) = faults_of(files(directory, **given))
    assert fault.setting == setting
    assert str(directory / named) in str(fault)
    assert message in str(fault)
    assert "hidden" not in str(fault)
    with pytest.raises(TlsFilesError, match=re.escape(str(fault))):
        tls_context(files(directory, **given))


def test_what_is_wrong_with_the_ca_and_with_the_key_is_reported_at_once(directory: Path) -> None:
    found = faults_of(files(directory, ca="empty", own="own.pem", key="other.key"))
    assert [one.setting for one in found] == ["ssl_ca_file", "ssl_key_file"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ca": "own.pem"},
        {"own": "own.pem", "key": "own.key"},
        {"own": "both.pem"},
        {"own": "own.pem", "key": "encrypted.key", "word": PASSWORD},
        {"own": "own.pem", "key": "own.key", "word": "not needed"},
    ],
    ids=[
        "nothing",
        "CA",
        "certificate and key",
        "both in one file",
        "encrypted",
        "password that isn't needed",
    ],
)
def test_what_is_in_order_makes_a_context_that_verifies_certificates_and_names(
    directory: Path, given: dict[str, str]
) -> None:
    assert faults_of(files(directory, **given)) == []
    context = tls_context(files(directory, **given))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_named_ca_is_the_only_one_that_is_trusted(directory: Path) -> None:
    trusted = tls_context(files(directory, ca="own.pem")).get_ca_certs()
    subjects = [
        dict(pair for part in one["subject"] for pair in part)  # type: ignore[misc]
        for one in trusted
    ]
    assert [subject["commonName"] for subject in subjects] == ["own"]


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(TlsFiles(key_password="hidden"))
