"""`validate` judges the cells of a CSV body as the emulator of the API does."""

from __future__ import annotations

import csv
from io import BytesIO, StringIO
from pathlib import Path

import pytest

from tests.builders import (
    APPLICATION_ID,
    DESTINATION,
    UNIX_SECONDS,
    make_row,
    now_at,
    parse_csv,
)
from tests.unit.tools.stored import settings
from worker.core.model.row import Destination
from worker.core.post_api.resource import RESOURCES, Identity
from worker.sandbox.emulator.contract import CONTRACTS
from worker.sandbox.emulator.reader import AcceptanceBounds, Rows, read_body
from worker.tools.csv_bodies import (
    FILES_OPEN_MAX,
    CsvFiles,
    NotWritableError,
    csv_name,
    faults_of_cells,
)
from worker.tools.file_formats import FileFormat, read
from worker.tools.validation import DryRun, Validation
from worker.tools.validation_report import RecordResult

BOUNDS = AcceptanceBounds(
    frozenset({APPLICATION_ID}), UNIX_SECONDS - 1_209_600, UNIX_SECONDS + 86_400, {}
)
BASES = {
    "events": {"event_name": "e"},
    "revenue": {
        "revenue_event_type": "refund",
        "price": "1.05",
        "currency": "RUB",
        "product_id": "p",
    },
    "adrevenue": {"revenue": "0.1", "currency": "USD", "ad_type": "banner"},
    "ecommerce": {
        "ecom_event_type": "PURCHASE",
        "order_id": "o",
        "product_name": "p",
        "cart_item_quantity": "1",
        "original_price_currency": "RUB",
        "original_price_value": "1",
    },
    "profiles": {"attributes": '{"a":1}'},
}
CELLS = [
    *("1e3", "1E3", "1e-05", "1.5", "1.50", "-1", "007", "01.5", "1.", ".5", "0", "x", "1,5"),
    *("{}", " {}", "[]", "[ ]", "[1]", '{"a":1}', '{"a":{}}', '{"a":1,"a":2}', "null", '"{}"'),
    *("::1", "::FFFF:1.2.3.4", "1.2.3.4", "fe80::1%eth0", "[a,b]", "[a]", "[a,,b]"),
    *("foreground", "idle", f"{2**64}", f"{2**64 - 1}", "9" * 11, "9" * 10, "0" * 12 + "1"),
]


def body_of(resource: str, *rows: dict[str, str]) -> bytes:
    """A body with a line per row: the changes to the resource's valid row, of the same columns."""
    common = {"application_id": str(APPLICATION_ID), "profile_id": "u"}
    if resource != "profiles":
        common["event_timestamp"] = str(UNIX_SECONDS)
    lines = [common | BASES[resource] | changes for changes in rows]
    out = StringIO()
    writer = csv.DictWriter(out, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().encode()


def dry_run_of(resource: str) -> DryRun:
    return DryRun(
        settings(routes=f"[{{topic: bodies, resource: {resource}}}]"), check=faults_of_cells
    )


def results_of(dry_run: DryRun, body: bytes) -> list[RecordResult]:
    results: list[RecordResult] = []
    validation = Validation(
        dry_run,
        "bodies",
        is_routed=False,
        is_each=True,
        take=results.append,
        take_rows=lambda rows: None,
    )
    for chunk in read(BytesIO(body), FileFormat.CSV):
        validation.validate(chunk, now_at())
    return results


@pytest.mark.parametrize("resource", BASES)
def test_a_cell_is_valid_where_the_emulator_accepts_it(resource: str) -> None:
    dry_run = dry_run_of(resource)
    judged = 0
    for column in RESOURCES[resource].columns:
        if column.name in ("application_id", "event_timestamp"):
            continue
        rows = [{column.name: cell} for cell in CELLS]
        results = results_of(dry_run, body_of(resource, *rows))
        for row, result in zip(rows, results, strict=True):
            accepted = read_body(CONTRACTS[resource], body_of(resource, row), BOUNDS)
            is_accepted = isinstance(accepted, Rows)
            assert bool(result.faults) is not is_accepted, (row, result.faults)
            judged += is_accepted
    assert judged


def test_the_fault_of_a_cell_gives_the_form_that_the_api_takes() -> None:
    body = body_of("revenue", {"price": "1e3", "device_ipv6": "1.2.3.4"})
    (result,) = results_of(dry_run_of("revenue"), body)
    assert [(one.reason, one.field, one.message) for one in result.faults] == [
        ("out_of_range", "price", "expected 1000 in a CSV body, found '1e3'"),
        ("out_of_range", "device_ipv6", "expected ::ffff:1.2.3.4 in a CSV body, found '1.2.3.4'"),
    ]
    assert (result.key, result.is_duplicate) == (None, False)


def test_more_destinations_than_open_files_have_whole_files(tmp_path: Path) -> None:
    applications = range(1, FILES_OPEN_MAX + 3)
    opened = 0
    with CsvFiles(tmp_path) as files:
        for offset in range(2):
            for application in applications:
                destination = Destination("events", application, Identity.PROFILE_ID)
                files.write([make_row(offset, destination=destination)])
                opened = max(opened, _open_files_in(tmp_path))
    assert opened == FILES_OPEN_MAX
    for application in applications:
        file = tmp_path / f"events-{application}-profile_id.csv"
        assert len(parse_csv(file.read_bytes())) == 3, file


def _open_files_in(directory: Path) -> int:
    found = [
        descriptor.readlink()
        for descriptor in Path("/proc/self/fd").iterdir()
        if descriptor.is_symlink()
    ]
    return sum(path.parent == directory for path in found)


@pytest.mark.parametrize("place", ["file/bodies", "directory"])
def test_a_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory" / csv_name(DESTINATION, 1)).mkdir(parents=True)
    with (
        pytest.raises(NotWritableError, match=r"can't be written: (Not|Is) a directory"),
        CsvFiles(tmp_path / place) as files,
    ):
        files.write([make_row()])


def test_a_file_is_named_by_its_destination() -> None:
    destination = Destination("events", APPLICATION_ID, Identity.PROFILE_ID)
    assert csv_name(destination, 1) == "events-1111-profile_id.csv"
    assert csv_name(destination, 2) == "events-1111-profile_id-2.csv"
