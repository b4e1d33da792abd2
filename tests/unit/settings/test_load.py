"""The configuration: which source wins, in which forms a value comes, and what is shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.loading import KEY, loaded
from worker.settings.load import MASK


class TestPrecedence:
    FILE = "kafka: {group_id: from-file}"
    NAME = "AMW_KAFKA__GROUP_ID"

    def test_a_default_counts_where_nothing_is_given(self, tmp_path: Path) -> None:
        assert loaded(tmp_path).settings.kafka.group_id == "appmetrica-worker"

    def test_the_file_is_stronger_than_a_default(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, self.FILE).settings.kafka.group_id == "from-file"

    def test_a_secret_file_is_stronger_than_the_file(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, self.FILE, secrets={self.NAME: "from-secret\n"})
        assert result.settings.kafka.group_id == "from-secret"

    def test_the_environment_is_stronger_than_a_secret_file(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path, self.FILE, {self.NAME: "from-environment"}, secrets={self.NAME: "from-secret"}
        )
        assert result.settings.kafka.group_id == "from-environment"

    def test_a_flag_is_stronger_than_everything(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path,
            self.FILE,
            {self.NAME: "from-environment"},
            flags={"kafka.group_id": "from-flag"},
        )
        assert result.settings.kafka.group_id == "from-flag"

    def test_sections_of_several_sources_merge(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, self.FILE, {"AMW_KAFKA__SESSION_TIMEOUT_SECONDS": "60"})
        assert (result.settings.kafka.group_id, result.settings.kafka.session_timeout_seconds) == (
            "from-file",
            60,
        )

    def test_every_value_knows_where_it_came_from(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path,
            "kafka:\n  group_id: g\n",
            {"AMW_ADMIN__PORT": "1234"},
            flags={"log.level": "debug"},
        )
        sources = {one.path: one.source for one in result.shown()}
        assert sources["kafka.group_id"] == f"{tmp_path / 'config.yaml'}:2"
        assert sources["admin.port"] == "AMW_ADMIN__PORT"
        assert sources["log.level"] == "--set log.level"
        assert sources["limits.span_records_max"] == "default"
        assert sources["appmetrica.applications.1111.post_api_key"] == KEY

    def test_a_default_beside_a_given_value_is_a_default(self, tmp_path: Path) -> None:
        text = "kafka:\n  group_id: g\nroutes:\n  - topic: films\n"
        sources = {one.path: one.source for one in loaded(tmp_path, text).shown()}
        assert (
            sources["kafka.session_timeout_seconds"]
            == sources["routes.0.unknown_fields"]
            == "default"
        )
        assert sources["routes.0.topic"] == f"{tmp_path / 'config.yaml'}:4"

    def test_a_list_that_was_replaced_leaves_no_source_behind(self, tmp_path: Path) -> None:
        text = "routes:\n  - topic: films\n    unknown_fields: ignore\n"
        result = loaded(tmp_path, text, {"AMW_ROUTES": '[{"topic": "games"}]'})
        sources = {one.path: one.source for one in result.shown()}
        assert (sources["routes.0.topic"], sources["routes.0.unknown_fields"]) == (
            "AMW_ROUTES",
            "default",
        )

    def test_a_value_that_came_by_a_merge_key_knows_its_line(self, tmp_path: Path) -> None:
        text = "kafka: &k\n  group_id: g\nlog:\n  <<: {level: debug}\n"
        sources = {one.path: one.source for one in loaded(tmp_path, text).shown()}
        assert sources["log.level"] == f"{tmp_path / 'config.yaml'}:4"


class TestForms:
    @pytest.mark.parametrize(
        ("text", "servers"),
        [
            ("kafka: {bootstrap_servers: 'a:1, b:2'}", ("a:1", "b:2")),
            ("kafka: {bootstrap_servers: [a:1, b:2]}", ("a:1", "b:2")),
        ],
        ids=["text", "list"],
    )
    def test_brokers_are_a_list_or_separated_by_commas(
        self, tmp_path: Path, text: str, servers: tuple[str, ...]
    ) -> None:
        assert loaded(tmp_path, text).settings.kafka.bootstrap_servers == servers

    def test_brokers_in_the_environment_are_separated_by_commas(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, environment={"AMW_KAFKA__BOOTSTRAP_SERVERS": "a:1,b:2"})
        assert result.settings.kafka.bootstrap_servers == ("a:1", "b:2")

    def test_an_application_may_be_a_number_in_the_file(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, "appmetrica: {applications: {2222: {post_api_key: a-key}}}")
        assert set(result.settings.appmetrica.applications) == {1111, 2222}

    def test_lists_in_the_environment_are_json(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, environment={"AMW_ROUTES": '[{"topic": "films"}]'})
        assert [route.topic for route in result.settings.routes] == ["films"]

    def test_a_key_may_be_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from-a-file\n")
        text = (
            f"appmetrica: {{applications: {{'2222': {{post_api_key_file: {tmp_path / 'key'}}}}}}}"
        )
        result = loaded(tmp_path, text)
        assert result.settings.appmetrica.applications[2222].key == "from-a-file"
        assert set(result.secrets()) == {"secret-key", "from-a-file"}


def test_text_is_the_text_that_is_written(tmp_path: Path) -> None:
    kafka = loaded(
        tmp_path, "kafka: {group_id: 2026-11-28, bootstrap_servers: [10:30]}"
    ).settings.kafka
    assert (kafka.group_id, kafka.bootstrap_servers) == ("2026-11-28", ("10:30",))
    routes = loaded(tmp_path, "routes: [{topic: no, constants: {os_name: NO}}]").settings.routes
    assert (routes[0].topic, routes[0].constants) == ("no", {"os_name": "NO"})


def test_the_commands_own_and_the_tests_variables_are_no_settings(tmp_path: Path) -> None:
    loaded(
        tmp_path,
        environment={"AMW_CONFIG": "x", "AMW_SECRETS_DIR": "y", "AMW_TEST_BOOTSTRAP_SERVERS": "z"},
    )


def test_what_is_shown_masks_every_secret(tmp_path: Path) -> None:
    text = "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me}"
    result = loaded(tmp_path, text, {"AMW_KAFKA__SASL_PASSWORD": "hidden"})
    shown = {one.path: one.value for one in result.shown()}
    assert (
        shown["appmetrica.applications.1111.post_api_key"] == shown["kafka.sasl_password"] == MASK
    )
    assert "secret-key" not in repr(result.settings)
    assert "hidden" not in repr(result.settings)


def test_the_hash_names_the_configuration_and_not_its_secrets(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    assert loaded(tmp_path, environment={KEY: "another-key"}).config_hash() == first.config_hash()
    assert loaded(tmp_path, "log: {level: debug}").config_hash() != first.config_hash()
