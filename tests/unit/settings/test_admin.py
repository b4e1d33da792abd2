"""The section `admin`, and the private authority of the API: what is set, and which faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import PASSWORD, Certificates, make_certificates
from tests.unit.settings.loading import faults, loaded
from worker.core.model.secret_text import TOKEN_CHARACTERS_MIN

TOKEN = "a-token-of-the-admin-port"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_the_token_comes_from_a_file_or_a_variable_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    by_file = loaded(tmp_path, f"admin: {{token_file: {file}}}")
    by_variable = loaded(tmp_path, environment={"AMW_ADMIN__TOKEN": TOKEN})
    for one in (by_file, by_variable):
        token = one.settings.admin.token
        assert token is not None
        assert token.get_secret_value() == TOKEN
        assert TOKEN in one.secrets()
        assert TOKEN not in repr(one) + repr(one.shown())


FAULTS: dict[str, tuple[str, str, str]] = {
    "a short token": ("{token: short}", "admin.token", f"fewer than {TOKEN_CHARACTERS_MIN}"),
    "a token that fits no header": (
        "{token: 'a token with spaces in it'}",
        "admin.token",
        "may hold only letters",
    ),
    "a key without its certificate": (
        "{ssl_key_file: /k}",
        "admin.ssl_key_file",
        "has no effect without ssl_certificate_file",
    ),
    "a password without a certificate": (
        "{ssl_key_password: password}",
        "admin.ssl_key_password",
        "has no effect without ssl_certificate_file",
    ),
    "no such certificate": (
        "{ssl_certificate_file: /nowhere}",
        "admin.ssl_certificate_file",
        "can't be read",
    ),
    "one port twice": (
        "{port: 8080, metrics_port: 8080}",
        "admin.metrics_port",
        "must differ from port",
    ),
    "a token twice": (
        "{token: a-token-of-the-admin-port, token_file: /t}",
        "admin.token_file",
        "excludes token",
    ),
    "no such token": ("{token_file: /nowhere}", "admin.token_file", "can't be read"),
}


@pytest.mark.parametrize(("text", "path", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_setting(
    tmp_path: Path, text: str, path: str, message: str
) -> None:
    (fault,) = faults(tmp_path, f"admin: {text}")
    assert (fault.path, message in fault.message) == (path, True)


def test_the_certificate_and_its_key_must_belong_together(
    tmp_path: Path, made: Certificates
) -> None:
    text = "admin: {{ssl_certificate_file: {}, ssl_key_file: {}}}"
    assert loaded(tmp_path, text.format(made.certificate, made.key)).settings.admin.tls_files()
    (fault,) = faults(tmp_path, text.format(made.certificate, made.other_key))
    assert (fault.path, "is not the key of" in fault.message) == ("admin.ssl_key_file", True)


def test_an_encrypted_key_needs_its_password(tmp_path: Path, made: Certificates) -> None:
    text = (
        f"admin: {{ssl_certificate_file: {made.certificate}, ssl_key_file: {made.encrypted_key}}}"
    )
    (fault,) = faults(tmp_path, text)
    assert "set ssl_key_password" in fault.message
    loaded(tmp_path, text, {"AMW_ADMIN__SSL_KEY_PASSWORD": PASSWORD})
    (fault,) = faults(tmp_path, text, {"AMW_ADMIN__SSL_KEY_PASSWORD": "another"})
    assert (fault.path, "another" in fault.message) == ("admin.ssl_key_password", False)


def test_the_same_port_on_two_addresses_is_fine(tmp_path: Path) -> None:
    text = "admin: {host: 127.0.0.1, port: 9090, metrics_host: 10.0.0.1, metrics_port: 9090}"
    assert loaded(tmp_path, text).settings.admin.metrics_port == 9090


def test_an_unusable_authority_of_the_api_is_a_fault(tmp_path: Path, made: Certificates) -> None:
    text = "appmetrica: {{ssl_ca_file: {}}}"
    assert loaded(tmp_path, text.format(made.certificate)).settings.appmetrica.tls_files()
    (fault,) = faults(tmp_path, text.format(made.key))
    assert (fault.path, "holds no certificate" in fault.message) == (
        "appmetrica.ssl_ca_file",
        True,
    )
