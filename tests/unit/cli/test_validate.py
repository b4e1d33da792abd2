"""The command `validate`, as people type it."""

from __future__ import annotations

import gzip
import io
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from tests.builders import make_value
from worker.cli.main import cli
from worker.errors import ConfigurationError
from worker.sandbox.import_samples import envelope

KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"
NOW = int(time.time())


def run(
    *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> Result:
    return CliRunner().invoke(
        cli, ["validate", *arguments], input=stdin, env={KEY: "a-key", **(environment or {})}
    )


def good(**fields: object) -> bytes:
    return make_value(event_timestamp=NOW, **fields) + b"\n"


def test_good_records_end_with_0_and_bad_ones_with_65() -> None:
    assert run("-", stdin=good()).exit_code == 0
    result = run("-", stdin=good() + b"nonsense\n")
    assert result.exit_code == 65
    assert "line 2: dead-lettered\n  record: expected one JSON object" in result.output
    assert "2 records: 1 would be delivered, duplicates: 0, invalid: 1" in result.output


def test_machines_get_a_line_per_bad_record_and_one_with_the_sums() -> None:
    result = run("-", "--json", "--max", "1", stdin=b"1\n2\n" + good())
    bad, sums = (orjson.loads(line) for line in result.stdout.splitlines())
    assert (bad["line"], bad["ending"], bad["faults"][0]["reason"]) == (
        1,
        "dead-lettered",
        "not_an_object",
    )
    assert sums == {
        "summary": {
            "records": 3,
            "delivered": 1,
            "duplicates": 0,
            "duplicates_by_content": 0,
            "skipped": 0,
            "bad": 2,
            "by_reason": {"not_an_object": 2},
            "warnings": [],
            "hint": None,
        },
        "is_cut": True,
    }


def test_what_would_be_sent_can_be_written_and_is_valid_again(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    device = good(profile_id=..., appmetrica_device_id=2**64 - 1, event_json={"a": 'x,"\n'})
    assert run("-", "--as-csv", str(bodies), stdin=good() + device).exit_code == 0
    names = sorted(file.name for file in bodies.iterdir())
    assert names == ["events-1111-appmetrica_device_id.csv", "events-1111-profile_id.csv"]
    for name in names:
        assert "1 record: 1 would be delivered" in run(str(bodies / name), "--format", "csv").output
    first = (bodies / names[0]).read_bytes()
    assert (
        run(
            str(bodies / names[0]), "--format", "csv", "--as-csv", str(tmp_path / "again")
        ).exit_code
        == 0
    )
    assert (tmp_path / "again" / names[0]).read_bytes() == first


def test_each_record_is_reported_where_that_is_wanted() -> None:
    result = run("-", "--each", stdin=good() * 2)
    assert (
        "line 1: delivered, key " in result.output
        and "line 2: duplicate by content, key " in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topic", "nowhere"), "which has offline-events: pass --config, or --resource"),
        (("--resource", "nothing"), "is not one of"),
        (("--format", "csv"), "the file is empty"),
    ],
)
def test_what_can_not_be_validated_is_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    result = run("-", *arguments)
    assert result.exit_code == 2 and message in result.output


def test_values_that_the_worker_counts_are_warnings_and_no_faults() -> None:
    revenue = {
        "event_name": ...,
        "revenue_event_type": "purchase",
        "price": "1.123456789",
        "currency": "RUB",
        "product_id": "p",
        "payload": {"long": "x" * 31_000},
    }
    # The application that the configuration lacks is accepted after a second reading.
    arguments = ("-", "--resource", "revenue")
    result = CliRunner().invoke(cli, ["validate", *arguments], input=good(**revenue))
    assert result.exit_code == 0
    assert "Warnings: the worker delivers and counts these records.\n" in result.stdout
    assert (
        "  revenue_event_type (1 records): a value that the API's documentation doesn't"
        in result.stdout
    )
    assert "billing_issues, refund\n" in result.stdout
    assert "  price (1 records): more than 8 digits after the point" in result.stdout
    assert "  payload (1 records): longer than 30 KB: the API cuts the value\n" in result.stdout
    document = orjson.loads(run(*arguments, "--json", stdin=good(**revenue)).stdout)
    assert sorted(
        (one["field"], one["change"], one["records"]) for one in document["summary"]["warnings"]
    ) == [
        ("payload", "cut", 1),
        ("price", "precision", 1),
        ("revenue_event_type", "unusual", 1),
    ]


def test_records_without_a_key_and_ignored_fields_are_warnings_where_they_are_delivered() -> None:
    route = "topic: t, unknown_fields: {0}, dedup: {{key_field: id, without_key: {1}}}"
    lines = good(more=1) + good(id="7")
    taken = run("-", "--set", f"routes=[{{{route.format('ignore', 'none')}}}]", stdin=lines)
    assert taken.exit_code == 0
    assert "  id (1 records): no key for deduplication, missing\n" in taken.stdout
    assert "  more (1 records): unknown field: ignored (unknown_fields is ignore)\n" in taken.stdout
    refused = run("-", "--set", f"routes=[{{{route.format('reject', 'reject')}}}]", stdin=lines)
    assert (refused.exit_code, "Warnings" in refused.stdout) == (65, False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "checked as events, by the route of topic offline-events; records of other"),
        (("--resource", "revenue"), "checked as revenue, by a route with the default settings."),
        (("--set", "routes=[{topic: a, form: envelope}]"), "checked as envelopes of any resource"),
        (("--set", "routes=[{topic: a, form: cloudevents}]"), "checked as events, as CloudEvents"),
    ],
)
def test_the_rules_that_apply_are_named(arguments: tuple[str, ...], said: str) -> None:
    assert said in run("-", *arguments, stdin=good()).stderr


REVENUE = {"revenue_event_type": "refund", "price": 1, "product_id": "p", "event_name": ...}


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (good(**REVENUE) * 2, "The records look like records of revenue: --resource revenue."),
        (good(**REVENUE) + b"{}\n", ""),
        (good(**REVENUE) + good(), ""),
        (good(event_name=...), ""),
        (good(event_name=..., currency="RUB"), ""),
        (b"nonsense\n", ""),
        (b'{"type": "revenue", "data": {}}\n', "set form: envelope for the route"),
    ],
    # Their names hold no line: it has the time, which differs between processes.
    ids=[
        "revenue",
        "half of them",
        "half events",
        "no name",
        "a currency",
        "no JSON",
        "an envelope",
    ],
)
def test_records_of_another_resource_are_recognised(lines: bytes, hint: str) -> None:
    result = run("-", stdin=lines)
    assert result.exit_code == 65
    assert hint in result.stdout
    assert ("look like" in result.stdout) == bool(hint)
    assert bool(
        orjson.loads(run("-", "--json", "--max", "0", stdin=lines).stdout)["summary"]["hint"]
    ) == bool(hint)


def test_a_file_without_records_is_no_success() -> None:
    result = run("-")
    assert (result.exit_code, "no records: nothing was checked" in result.stderr) == (65, True)


def test_a_resource_without_a_route_is_validated_by_the_defaults() -> None:
    assert (
        run("-", "--resource", "events", "--set", "routes=[{topic: films}]", stdin=good()).exit_code
        == 0
    )


def test_records_of_any_form_and_resource_become_bodies_that_are_valid_again(
    tmp_path: Path,
) -> None:
    chance, common = (
        random.Random(1),
        {"application_id": 1111, "profile_id": "user-1", "event_timestamp": NOW},
    )
    records = [orjson.dumps(envelope(chance, common, number)) + b"\n" for number in range(50)]
    options = ("--set", "routes=[{topic: all, form: envelope}]", "--set", "delivery.request=params")
    result = run("-", "--as-csv", str(tmp_path), *options, stdin=b"".join(records))
    assert "50 records: 50 would be delivered" in result.output
    resources = {"revenue", "adrevenue", "ecommerce", "profiles"}
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{resource}-1111-profile_id.csv" for resource in resources
    }
    for resource in resources:
        again = run(
            str(tmp_path / f"{resource}-1111-profile_id.csv"),
            "--format",
            "csv",
            "--resource",
            resource,
        )
        assert (again.exit_code, ", invalid: 0" in again.output) == (0, True), again.output


def test_a_directory_that_cannot_be_created_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("-", "--as-csv", str(tmp_path / "file" / "bodies"), stdin=good())
    assert result.exit_code == 2
    assert "Invalid value for --as-csv" in result.output and "Not a directory" in result.output


class Interrupted(io.BytesIO):
    """An input during which a person types Ctrl-C."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size == 0:
            # click asks whether this is a binary file.
            return b""
        raise KeyboardInterrupt


def test_ctrl_c_ends_with_the_exit_code_of_every_tool() -> None:
    assert CliRunner().invoke(cli, ["validate", "-"], input=Interrupted()).exit_code == 130


def test_each_set_of_columns_has_a_body_of_its_own_where_they_are_exact(tmp_path: Path) -> None:
    result = run(
        "-",
        "--as-csv",
        str(tmp_path),
        "--set",
        "batching.columns=exact",
        stdin=good() + good(mcc=250) + good(mcc=251),
    )
    assert result.exit_code == 0
    first, second = (
        tmp_path / name for name in ("events-1111-profile_id.csv", "events-1111-profile_id-2.csv")
    )
    assert (
        first.read_text(encoding="utf-8").splitlines()[0]
        == "application_id,profile_id,event_name,event_timestamp"
    )
    assert [line.split(",")[-1] for line in second.read_text(encoding="utf-8").splitlines()] == [
        "mcc",
        "250",
        "251",
    ]


def test_the_shell_completes_commands_and_options() -> None:
    environment = {
        "_APPMETRICA_WORKER_COMPLETE": "bash_complete",
        "COMP_WORDS": "appmetrica-worker dlq re",
        "COMP_CWORD": "2",
    }
    assert "_APPMETRICA_WORKER_COMPLETE" not in os.environ
    result = CliRunner().invoke(cli, [], env=environment, prog_name="appmetrica-worker")
    assert result.output == "plain,replay\n"


def unconfigured(*arguments: str, stdin: bytes) -> Result:
    """`validate` without any configuration."""
    return CliRunner().invoke(cli, ["validate", *arguments], input=stdin, env={KEY: None})


def test_no_configuration_and_no_key_is_needed() -> None:
    records = b"".join(good(application_id=number) for number in (1, 77, 2**63 - 1))
    result = unconfigured("-", stdin=records + good(application_id=77, event_name=...))
    assert result.exit_code == 65, result.output
    assert "4 records: 3 would be delivered, duplicates: 0, invalid: 1" in result.output
    assert "line 4: dead-lettered\n  event_name: required" in result.output
    assert "unknown_application" not in result.output


def test_without_configuration_a_resource_is_chosen_by_its_name() -> None:
    profile = orjson.dumps({"application_id": 5, "profile_id": "u", "attributes": {"a": 1}})
    assert unconfigured("-", "--resource", "profiles", stdin=profile).exit_code == 0
    assert unconfigured("-", stdin=profile).exit_code == 65


def test_a_configuration_without_readable_keys_keeps_its_applications(tmp_path: Path) -> None:
    config = tmp_path / "worker.yaml"
    config.write_text(
        'appmetrica: {applications: {"1111": {post_api_key_file: /nowhere/key}}}', encoding="utf-8"
    )
    arguments = ("-", "--config", str(config))
    assert unconfigured(*arguments, stdin=good()).exit_code == 0
    result = unconfigured(*arguments, stdin=good(application_id=2222))
    assert "no key is configured for application 2222" in result.output


def test_another_fault_of_the_configuration_is_still_reported() -> None:
    result = unconfigured("-", "--set", "log.level=loud", stdin=good())
    assert isinstance(result.exception, ConfigurationError)
    assert [fault.path for fault in result.exception.faults] == ["log.level"]


def test_the_file_is_described_first(tmp_path: Path) -> None:
    file = tmp_path / "events.json.gz"
    file.write_bytes(gzip.compress(b"[" + good() + b"," + good(event_name="b") + b"]"))
    result = run(str(file))
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(
        f"{file} seems to be a JSON array of records, compressed with gzip\n"
    )
    assert "2 records: 2 would be delivered" in result.stdout


def test_a_given_format_is_used_although_the_file_seems_to_be_another() -> None:
    result = run("-", "--format", "jsonl", stdin=b"[\n" + good() + b"]")
    assert result.exit_code == 65
    assert "seems to be a JSON array of records" in result.stderr
    assert "read as jsonl, because of --format" in result.stderr


def test_a_record_of_an_array_is_named_by_its_number() -> None:
    result = run("-", stdin=b"[\n\n" + good() + b",\n" + good(event_name=...) + b"]")
    assert "record 2: dead-lettered\n  event_name: required" in result.output
