"""The commands that need no broker, as people type them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from worker import __version__
from worker.cli.configuration import schema
from worker.cli.main import cli
from worker.core.intake.pass_choice import PASS_FORM
from worker.core.post_api.resource import RESOURCES
from worker.errors import ConfigurationError

DOCS = Path(__file__).parents[3] / "docs"
KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), env={KEY: "secret-key", **(environment or {})})


def test_check_config_says_that_all_is_in_order() -> None:
    result = run("check-config")
    assert (result.exit_code, result.stdout) == (
        0,
        "The configuration is valid: topics offline-events; applications 1111.\n",
    )


def test_check_config_takes_settings_on_the_line() -> None:
    result = run("check-config", "--set", "routes=[{topic: films}]")
    assert "topics films" in result.output


@pytest.mark.parametrize(
    ("route", "warning"),
    [
        ("resource: revenue, dedup: {key_fields: [order_id, event_name]}", "event_name is no"),
        ("resource: revenue, dedup: {key_field: orderid}", "revenue; did you mean order_id?"),
        ("form: envelope, dedup: {key_field: uid}", "uid is no parameter of events or revenue or"),
        ("fields: {event_name: $.n}, dedup: {key_field: event_name}", "is read from $.n on this"),
        ("resource: profiles, dedup: {key_field: event_timestamp}", "no parameter of profiles"),
        ("resource: revenue, dedup: {key_fields: [order_id, revenue_event_type]}", ""),
        ("dedup: {key_field: $.event_json.uid}", ""),
        ("fields: {event_json: $.p}, dedup: {key_fields: [$.p.uid, profile_id]}", ""),
        ("form: envelope, dedup: {key_field: order_id}", ""),
    ],
)
def test_check_config_warns_of_a_key_field_that_is_no_parameter(route: str, warning: str) -> None:
    result = run("check-config", "--set", f"routes=[{{topic: t, {route}}}]")
    assert result.exit_code == 0
    assert result.stderr.count("warning: topic t, dedup.key_field") == bool(warning)
    assert warning in " ".join(result.stderr.split())


def test_a_setting_on_the_line_must_be_path_and_value() -> None:
    result = run("check-config", "--set", "nonsense")
    assert result.exit_code == 2
    assert "'nonsense' is not PATH=VALUE" in result.output


def test_show_config_masks_secrets_and_names_sources() -> None:
    result = run("show-config", "--json", environment={"AMW_ADMIN__PORT": "1"})
    shown = {one["path"]: one for one in json.loads(result.stdout)}
    assert shown["appmetrica.applications.1111.post_api_key"]["value"] == "********"
    assert shown["admin.port"] == {"path": "admin.port", "value": "1", "source": "AMW_ADMIN__PORT"}
    assert "secret-key" not in run("show-config").output


@pytest.mark.parametrize("value", ["[fd00::10]:9092", "a[/b]", "[bold]x", ":warning:", "x" * 300])
def test_show_config_shows_text_as_it_is(value: str) -> None:
    setting = "BOOTSTRAP_SERVERS" if value.endswith("]:9092") else "GROUP_ID"
    result = run("show-config", environment={f"AMW_KAFKA__{setting}": value})
    assert result.exit_code == 0, result.exception
    # A long value goes on in the next row of its cell.
    cells = [row.split("│")[2].strip() for row in result.stdout.splitlines() if row.count("│") == 4]
    assert value in "".join(cells)


def test_show_config_sends_no_control_character_to_the_terminal() -> None:
    shown = run("show-config", environment={"AMW_KAFKA__GROUP_ID": "a\x1b[2Jb"}).stdout
    assert "a\\x1b[2Jb" in shown
    assert "\x1b" not in shown


def test_schema_config_prints_a_json_schema() -> None:
    document = json.loads(run("schema", "config").stdout)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"kafka", "routes", "appmetrica"} <= document["properties"].keys()


@pytest.mark.parametrize("resource", RESOURCES)
def test_schema_event_prints_the_schema_that_is_in_the_docs(resource: str) -> None:
    printed = run("schema", "event", "--resource", resource).stdout
    assert printed == (DOCS / "schema" / "v1" / f"{resource}.schema.json").read_text(
        encoding="utf-8"
    )


def test_schema_event_is_of_events_by_default() -> None:
    assert json.loads(run("schema", "event").stdout)["title"] == "A record of events"
    assert run("schema", "event", "--resource", "clicks").exit_code == 2


def test_schema_asyncapi_prints_the_document_that_is_in_the_docs() -> None:
    printed = run("schema", "asyncapi").stdout
    assert printed == (DOCS / "schema" / "v1" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert json.loads(run("schema", "asyncapi", "--json").stdout)["asyncapi"] == "3.0.0"


def test_every_schema_command_has_a_help_text_with_an_example() -> None:
    assert schema.commands.keys() == {"asyncapi", "config", "event"}
    for name, command in schema.commands.items():
        assert f"Example: appmetrica-worker schema {name}" in (command.help or ""), name


def test_version_prints_the_version() -> None:
    assert run("version").output == f"{__version__}\n"
    shown = json.loads(run("version", "--json").output)
    assert shown == {"version": __version__, "fast_pass": PASS_FORM}


def test_every_command_has_a_help_text_with_an_example() -> None:
    commands = _leaves(cli, click.Context(cli))
    assert {"run", "dlq replay", "schema event"} <= {name for name, _ in commands}
    for name, command in commands:
        if name != "version":
            assert f"Example: appmetrica-worker {name}" in (command.help or ""), name


def _leaves(
    group: click.Group, context: click.Context, before: str = ""
) -> list[tuple[str, click.Command]]:
    """Every command that does something, under its whole name."""
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None and command.name == name
        found += (
            _leaves(command, context, f"{before}{name} ")
            if isinstance(command, click.Group)
            else [(before + name, command)]
        )
    return found


SERVICE = {
    "AMW_SERVICE_HOST": "10.96.0.7",
    "AMW_SERVICE_PORT": "9090",
    "AMW_PORT": "tcp://10.96.0.7:9090",
}


def test_check_config_names_the_variables_that_kubernetes_sets_for_a_service() -> None:
    result = run("check-config", environment=SERVICE)
    assert (result.exit_code, "AMW_PORT, AMW_SERVICE_HOST, AMW_SERVICE_PORT." in result.stderr) == (
        0,
        True,
    )


def test_a_bad_configuration_is_an_error_with_all_faults() -> None:
    result = run("check-config", environment={"AMW_LOG__LEVEL": "loud", "AMW_NOPE": "1"})
    assert isinstance(result.exception, ConfigurationError)
    assert len(result.exception.faults) == 2
