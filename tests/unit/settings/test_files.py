"""The files that settings name: each is read before anything starts, and a bad one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import PASSWORD, make_certificates
from tests.unit.settings.loading import KEY, faults, loaded
from worker.errors import ConfigurationError
from worker.settings.load import load


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbfhidden", "begins with a byte order mark"),
        (b'"hidden"', "contains quotes"),
        (b"hid den\n", "contains white space"),
        (b"", "is empty"),
        (b"h" * 70_000, "is larger than 65,536 bytes"),
    ],
)
def test_what_a_key_file_may_not_hold_is_a_fault_that_names_the_file(
    tmp_path: Path, data: bytes, message: str
) -> None:
    (tmp_path / "key").write_bytes(data)
    found = faults(
        tmp_path, f"appmetrica: {{applications: {{3: {{post_api_key_file: {tmp_path / 'key'}}}}}}}"
    )
    assert [one.path for one in found] == ["appmetrica.applications.3.post_api_key_file"]
    assert f"{tmp_path / 'key'} {message}" in found[0].message
    assert "hid" not in str(found[0]).replace(str(tmp_path), "")


def test_white_space_at_the_end_of_a_key_file_is_not_the_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file \t\n")
    text = f"appmetrica: {{applications: {{3: {{post_api_key_file: {tmp_path / 'key'}}}}}}}"
    assert loaded(tmp_path, text).settings.appmetrica.applications[3].key == "from-a-file"


def test_a_key_in_a_variable_in_quotes_is_a_fault(tmp_path: Path) -> None:
    found = faults(tmp_path, environment={KEY: '"hidden"'})
    assert [(one.source, one.message) for one in found] == [
        (KEY, "the key contains quotes: write the key without quotes")
    ]


def test_a_secret_file_with_a_byte_order_mark_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, secrets={"AMW_KAFKA__GROUP_ID": "\ufeffg"})
    assert [(one.path, "byte order mark" in one.message) for one in caught.value.faults] == [
        ("kafka.group_id", True)
    ]


class TestTlsFiles:
    """The files of TLS are read before anything starts; a fault's path is its setting."""

    SECURITY = (
        "security_protocol: SSL, ssl_ca_file: {0}/ca, ssl_certificate_file: {0}/own.pem, "
        "ssl_key_file: {0}/encrypted.key"
    )

    def text(self, tmp_path: Path, more: str = "") -> str:
        make_certificates(tmp_path)
        return f"kafka: {{{self.SECURITY.format(tmp_path)}{more}}}\n"

    def test_what_is_wrong_with_them_is_reported_beside_all_else(self, tmp_path: Path) -> None:
        found = faults(tmp_path, self.text(tmp_path) + "log: {level: loud}")
        file = tmp_path / "config.yaml"
        assert [(one.path, one.source) for one in found] == [
            ("log.level", f"{file}:2"),
            ("kafka.ssl_ca_file", f"{file}:1"),
            ("kafka.ssl_key_file", f"{file}:1"),
        ]
        assert f"{tmp_path / 'ca'} can't be read: No such file or directory" in found[1].message
        assert f"{tmp_path / 'encrypted.key'} is encrypted" in found[2].message

    def test_a_key_whose_password_file_is_a_fault_is_no_second_fault(self, tmp_path: Path) -> None:
        found = faults(tmp_path, self.text(tmp_path, f", ssl_key_password_file: {tmp_path}/none"))
        assert [one.path for one in found] == ["kafka.ssl_key_password_file", "kafka.ssl_ca_file"]

    def test_a_key_is_opened_with_the_password_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text(PASSWORD + "\n")
        text = self.text(tmp_path, f", ssl_key_password_file: {tmp_path}/password").replace(
            "/ca,", "/own.pem,"
        )
        assert loaded(tmp_path, text).settings.kafka.security_protocol == "SSL"

    def test_files_of_connections_that_are_not_made_are_not_read(self, tmp_path: Path) -> None:
        assert [one.path for one in faults(tmp_path, "kafka: {ssl_ca_file: /no/such}")] == ["kafka"]


def test_an_empty_secret_file_is_a_fault_and_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, secrets={"AMW_STATE_DIR": "\n"})
    assert [(one.path, one.source) for one in caught.value.faults] == [
        ("state_dir", str(tmp_path / "secrets/AMW_STATE_DIR"))
    ]


@pytest.mark.parametrize("name", ["no-such", "."], ids=["missing", "a directory"])
def test_a_file_that_a_variable_names_is_named_with_it(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"AMW_CONFIG": str(file), "AMW_SECRETS_DIR": "/no/such"}, Path("/no/such"), {})
    assert [one.source for one in caught.value.faults] == [
        "/no/such, set by AMW_SECRETS_DIR",
        f"{file}, set by AMW_CONFIG",
    ]
