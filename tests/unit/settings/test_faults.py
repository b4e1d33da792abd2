"""Every fault of a configuration is reported, with its path, its source and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.searches import CHARACTERS, examples
from tests.unit.settings.loading import assert_fault, faults, loaded
from worker.errors import ConfigurationError
from worker.settings.kafka import Kafka
from worker.settings.load import load
from worker.settings.routing import RouteSettings
from worker.settings.schema import Settings

CASES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "unknown key, nearest name suggested": (
        "kafka: {grup_id: x}",
        {},
        "kafka.grup_id",
        "did you mean group_id?",
    ),
    "unknown section": ("kafak: {}", {}, "kafak", "did you mean kafka?"),
    "unknown variable": (
        "",
        {"AMW_KAFAK__GROUP_ID": "x"},
        "kafak.group_id",
        "no setting has this name",
    ),
    "unknown variable in a known section": (
        "",
        {"AMW_KAFKA__GRUP_ID": "x"},
        "kafka.grup_id",
        "did you mean group_id?",
    ),
    "variable that is no JSON": ("", {"AMW_ROUTES": "films"}, "routes", "must be JSON"),
    "wrong type": ("admin: {port: many}", {}, "admin.port", "valid integer"),
    "below the bound": (
        "batching: {rows_max: 0}",
        {},
        "batching.rows_max",
        "greater than or equal to 1",
    ),
    "above the API's bound": ("batching: {rows_max: 100001}", {}, "batching.rows_max", "100000"),
    "not one of": ("log: {format: xml}", {}, "log.format", "'json' or 'console'"),
    "key twice": ("log: {level: info}\nlog: {level: debug}", {}, "log", "is repeated"),
    "not YAML": ("kafka: [", {}, "file", "is not YAML"),
    "a value that isn't of its tag": (
        "kafka: {group_id: !!int x}",
        {},
        "file",
        "not a value of its type",
    ),
    "no list": ("routes: 5", {}, "routes", "must be a list"),
    "an item for a list": ("routes: {'0': {topic: a}}", {}, "routes", "never a part of it"),
    "a list that holds itself": ("kafka: &a [*a]", {}, "file", "contains itself"),
    "key file that is no text": (
        "appmetrica: {applications: {'3': {post_api_key_file: [a]}}}",
        {},
        "appmetrica.applications.3.post_api_key_file",
        "path",
    ),
    "key file with NUL in its name": (
        'appmetrica: {applications: {"3": {post_api_key_file: "a\\0b"}}}',
        {},
        "appmetrica.applications.3.post_api_key_file",
        "not a file name",
    ),
    "application with a leading zero": (
        "appmetrica: {applications: {'01111': {post_api_key: k}}}",
        {},
        "appmetrica.applications",
        "without leading zeros",
    ),
    "true for a number": (
        "batching: {rows_max: true}",
        {},
        "batching.rows_max",
        "must not be true or false",
    ),
    "yes for a number": ("batching: {rows_max: yes}", {}, "batching.rows_max", "valid integer"),
    "a number with a leading zero": (
        "admin: {port: 09090}",
        {},
        "admin.port",
        "a leading zero is octal in YAML 1.1",
    ),
    "application with a leading zero, without quotes": (
        "appmetrica: {applications: {01111: {post_api_key: k}}}",
        {},
        "appmetrica.applications.1111",
        "a leading zero is octal in YAML 1.1",
    ),
    "application in two notations": (
        "appmetrica: {applications: {0x457: {post_api_key: k}, 1111: {post_api_key: l}}}",
        {},
        "appmetrica.applications.1111",
        "is repeated",
    ),
    "key twice in JSON": (
        "",
        {
            "AMW_APPMETRICA__APPLICATIONS": (
                '{"1111": {"post_api_key": "a"}, "1111": {"post_api_key": "b"}}'
            )
        },
        "appmetrica.applications",
        "without repeated keys",
    ),
    "a year of waiting": (
        "batching: {linger_seconds: 31536000}",
        {},
        "batching.linger_seconds",
        "86400",
    ),
    "not a mapping": ("- a", {}, "file", "must hold a mapping"),
    "batch above the span": (
        "limits: {span_records_max: 100}",
        {},
        "batching.rows_max",
        "at most limits.span_records_max (100)",
    ),
    "body above half the memory": (
        "limits: {memory_bytes_max: 16777216}\nbatching: {body_bytes_max: 8388609}",
        {},
        "batching.body_bytes_max",
        "at most half of limits.memory_bytes_max",
    ),
    "a form of request that doesn't exist": (
        "delivery: {request: query}",
        {},
        "delivery.request",
        "'body' or 'params'",
    ),
    "columns that don't exist": (
        "batching: {columns: some}",
        {},
        "batching.columns",
        "'all' or 'exact'",
    ),
    "null for a section": ("kafka:", {}, "kafka", "must be a mapping of settings; remove it"),
    "null for an application": (
        "appmetrica: {applications: {'3': }}",
        {},
        "appmetrica.applications.3",
        "required: one of post_api_key and",
    ),
    "a variable for the file, misnamed": (
        "",
        {"AMW_CONFIG_FILE": "/a"},
        "config_file",
        "did you mean AMW_CONFIG?",
    ),
    "an empty variable": (
        "",
        {"AMW_STATE_DIR": ""},
        "state_dir",
        "is empty: set a value, or remove it",
    ),
    "a blank variable": ("", {"AMW_STATE_DIR": " "}, "state_dir", "is empty"),
    "an empty variable that names the file": ("", {"AMW_CONFIG": ""}, "AMW_CONFIG", "is empty"),
    "no key": (
        "appmetrica: {applications: {'3': {}}}",
        {},
        "appmetrica.applications.3",
        "one of post_api_key and",
    ),
    "a key that can't be masked": (
        "appmetrica: {applications: {'3': {post_api_key: '110'}}}",
        {},
        "appmetrica.applications.3.post_api_key",
        "the key has fewer than 4 characters: it can't be masked",
    ),
    "no such key file": (
        "appmetrica: {applications: {'3': {post_api_key_file: /no/such}}}",
        {},
        "appmetrica.applications.3.post_api_key_file",
        "/no/such can't be read: No such file",
    ),
    "application that is no number": (
        "appmetrica: {applications: {films: {post_api_key: k}}}",
        {},
        "appmetrica",
        "integer",
    ),
    "address with a query": (
        "appmetrica: {base_url: 'http://a?b=c'}",
        {},
        "appmetrica.base_url",
        "may hold only scheme",
    ),
}


@pytest.mark.parametrize(("text", "environment", "path", "message"), CASES.values(), ids=CASES)
def test_a_fault_names_its_path_and_what_is_wrong(
    tmp_path: Path, text: str, environment: dict[str, str], path: str, message: str
) -> None:
    assert_fault(tmp_path, text, environment, (path, message))


def test_all_faults_are_reported_at_once_each_with_its_source(tmp_path: Path) -> None:
    text = "kafka:\n  grup_id: x\nadmin:\n  port: many\n"
    found = faults(tmp_path, text, {"AMW_LOG__LEVEL": "loud", "AMW_NOPE": "1"})
    file = tmp_path / "config.yaml"
    assert {(fault.path, fault.source) for fault in found} == {
        ("kafka.grup_id", f"{file}:2"),
        ("admin.port", f"{file}:4"),
        ("log.level", "AMW_LOG__LEVEL"),
        ("nope", "AMW_NOPE"),
    }


@pytest.mark.parametrize(
    ("name", "value", "path", "message"),
    [
        ("admin.port", "09090", "admin.port", "a leading zero"),
        ("admin", "{port: 1, port: 2}", "admin.port", "is repeated"),
        (
            "routes",
            "[{topic: a, constants: {mcc: 007}}]",
            "routes.0.constants.mcc",
            "a leading zero",
        ),
    ],
)
def test_what_a_value_on_the_line_hides_is_a_fault(
    tmp_path: Path, name: str, value: str, path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, flags={name: value})
    assert [(one.path, one.source) for one in caught.value.faults if message in one.message] == [
        (path, f"--set {name}")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "appmetrica:",
        "appmetrica: {}",
        "appmetrica: {applications: {}}",
        "appmetrica: {applications: }",
    ],
)
def test_where_no_application_is_given_the_fault_says_what_is_required(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, None, {})
    assert [one.message.partition(":")[0] for one in caught.value.faults] == ["required"]


def test_what_is_missing_is_reported_beside_what_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("appmetrica: {base_url: 5}")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"AMW_APPMETRICA__READ_TIMEOUT_SECONDS": ""}, None, {})
    assert {one.path for one in caught.value.faults} == {
        "appmetrica.base_url",
        "appmetrica.read_timeout_seconds",
        "appmetrica.applications",
    }


@pytest.mark.parametrize(
    "text",
    [
        "appmetrica: {applications: {'1111': {post_api_key: 'hidden value'}}}",
        "kafka: {security_protocol: nonsense, sasl_password: hidden}",
        "appmetrica: {applications: {'1111': {post_api_key: [hidden]}}}",
        "appmetrica: {applications: {hidden: {}}}",
        "kafka: {sasl_password: *hidden}",
        "kafka: {sasl_password: !hidden a}",
        "kafka:\n  sasl_password: 'hidden\n  group_id: x'y",
        "kafka: {sasl_password: %hidden}",
        "kafka: {sasl_password: 2026-13-45hidden}\n  x",
    ],
    ids=[
        "key with a space",
        "fault beside a password",
        "key of a wrong type",
        "key in the place of an application",
        "password that looks like an alias",
        "password that looks like a tag",
        "open quotes",
        "character that starts nothing",
        "bad indentation",
    ],
)
def test_no_message_holds_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, None, {})
    assert "hidden" not in str(caught.value)


NAMES = sorted(
    {
        *Settings.model_fields,
        *Kafka.model_fields,
        *RouteSettings.model_fields,
        "applications",
        "1111",
        "post_api_key",
    }
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(CHARACTERS, max_size=8)
    | st.dates()
    | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES) | st.text(CHARACTERS, max_size=4), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@examples(300, suppress=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3),
    names=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=3),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
def test_whatever_is_given_ends_in_settings_or_in_faults(
    tmp_path: Path, document: dict[str, object], names: list[list[str]], text: str
) -> None:
    environment = {"AMW_" + "__".join(name).upper(): text for name in names}
    for written in (yaml.safe_dump(document, allow_unicode=True), text):
        try:
            loaded(tmp_path, written, environment, flags={".".join(name): text for name in names})
        except ConfigurationError as error:
            assert error.faults
