"""Alternative settings: the one from the stronger source counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.unit.settings.loading import KEY, faults
from worker.settings.load import MASK, load

KEY_FILE = "appmetrica.applications.1111.post_api_key_file"


class TestAlternatives:
    """A setting from a stronger source replaces its alternative from a weaker one."""

    def shown(
        self, tmp_path: Path, text: str, **given: Mapping[str, str]
    ) -> dict[str, tuple[str, str]]:
        file = tmp_path / "config.yaml"
        file.write_text(text)
        result = load(
            file, {KEY: "secret-key", **given.get("environment", {})}, None, given.get("flags", {})
        )
        return {one.path: (one.value, one.source) for one in result.shown()}

    def test_a_key_in_a_variable_replaces_a_key_file_of_the_file(self, tmp_path: Path) -> None:
        shown = self.shown(
            tmp_path, "appmetrica: {applications: {1111: {post_api_key_file: /no/such}}}"
        )
        assert shown[KEY_FILE] == ("null", "default")
        assert shown["appmetrica.applications.1111.post_api_key"] == (MASK, KEY)

    def test_a_key_file_on_the_line_replaces_a_key_in_a_variable(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from-a-file")
        shown = self.shown(tmp_path, "", flags={KEY_FILE: str(tmp_path / "key")})
        assert shown[KEY_FILE] == (str(tmp_path / "key"), f"--set {KEY_FILE}")
        assert shown["appmetrica.applications.1111.post_api_key"] == (MASK, str(tmp_path / "key"))

    @pytest.mark.parametrize("name", ["sasl_password", "ssl_key_password"])
    def test_so_does_every_other_secret_that_may_be_in_a_file(
        self, tmp_path: Path, name: str
    ) -> None:
        (tmp_path / "password").write_text("from-a-file")
        security = "security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me"
        own = make_certificates(tmp_path)
        identity = f"ssl_certificate_file: {own.certificate}, ssl_key_file: {own.key}"
        more = "" if name == "sasl_password" else f", sasl_password: a-password, {identity}"
        text = f"kafka: {{{security}{more}, {name}_file: /no/such}}"
        shown = self.shown(tmp_path, text, environment={f"AMW_KAFKA__{name.upper()}": "given"})
        assert (shown[f"kafka.{name}_file"], shown[f"kafka.{name}"][1]) == (
            ("null", "default"),
            f"AMW_KAFKA__{name.upper()}",
        )
        text = text.replace(f"{name}_file: /no/such", f"{name}: given")
        shown = self.shown(
            tmp_path,
            text,
            environment={f"AMW_KAFKA__{name.upper()}_FILE": str(tmp_path / "password")},
        )
        assert shown[f"kafka.{name}"][1] == str(tmp_path / "password")

    def test_so_does_the_other_place_of_an_event_s_id(self, tmp_path: Path) -> None:
        shown = self.shown(
            tmp_path, "dedup: {key_header: a}", environment={"AMW_DEDUP__KEY_FIELD": "b"}
        )
        assert (shown["dedup.key_header"][0], shown["dedup.key_field"][0]) == ("null", "b")

    def test_null_replaces_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from-a-file")
        text = f"appmetrica: {{applications: {{2222: {{post_api_key_file: {tmp_path / 'key'}}}}}}}"
        shown = self.shown(
            tmp_path, text, flags={"appmetrica.applications.2222.post_api_key": "null"}
        )
        assert shown["appmetrica.applications.2222.post_api_key"] == (MASK, str(tmp_path / "key"))

    def test_two_of_one_source_are_a_fault(self, tmp_path: Path) -> None:
        found = faults(tmp_path, environment={f"{KEY}_FILE": "/key"})
        assert [(one.path, one.message) for one in found] == [
            (KEY_FILE, "excludes post_api_key: set only one of the two")
        ]
