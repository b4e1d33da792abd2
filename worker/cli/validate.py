"""The command `validate`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson
from rich.table import Table
from rich.text import Text

from worker.cli.loading import NO_APPLICATION, with_optional_keys
from worker.cli.output import console, progress, say
from worker.cli.validation_rules import Rules, as_bodies, chosen_rules
from worker.core.counters.situation import count_text
from worker.core.model.clock import Now
from worker.errors import ExitCode
from worker.settings.load import Loaded
from worker.settings.schema import Settings
from worker.tools.csv_bodies import CsvFiles, NotWritableError, faults_of_cells
from worker.tools.file_detection import DetectedFile, detect
from worker.tools.file_formats import FileFormat, FileFormatError, read
from worker.tools.validation import DryRun, UnknownApplications, Validation, no_faults
from worker.tools.validation_report import RecordResult, Summary

REPORT_RECORDS = 20_000
# The option --format: the format is detected.
AUTO = "auto"


@click.command("validate")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--format",
    "format_name",
    default=AUTO,
    show_default=True,
    type=click.Choice([AUTO, *(file_format.value for file_format in FileFormat)]),
    help=(
        "auto: detected; jsonl: a JSON value per line; json: an array of records, or records on "
        "several lines; kcat: output of `kcat -J`; csv: CSV with a header."
    ),
)
@click.option(
    "--topic",
    help="Apply the rules of this topic's route. Default: the first route of the resource.",
)
@click.option(
    "--resource",
    help="Resource of the records. Default: that of the first route; events without configuration.",
)
@click.option(
    "--as-csv",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help=(
        "Write the rows that would be sent into CSV files in this directory: a file per resource, "
        "application and identity."
    ),
)
@click.option("--each", "is_each", is_flag=True, help="Show valid records too.")
@click.option(
    "--max",
    "count",
    default=20,
    show_default=True,
    type=click.IntRange(0),
    help="Maximum number of records to show.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a line of JSON per shown record, then a line with the totals.",
)
@with_optional_keys
def validate(
    loaded: Loaded,
    file: BinaryIO,
    format_name: str,
    topic: str | None,
    resource: str | None,
    **options: Any,
) -> None:
    """Check each record of a file.

    The rules are those of the worker. FILE may be compressed with gzip; - is stdin. Needs no
    configuration and no key: without applications in the configuration, every application is
    accepted. The exit code is 65 if a record is invalid, or if there is no record. Warnings don't
    change it: the worker delivers these values and counts them.

    Example: appmetrica-worker validate events.jsonl --as-csv bodies/
    """
    shown = _Shown(**options)
    try:
        source = _opened(file, format_name)
        rules = chosen_rules(loaded.settings, topic, resource, source.file_format)
        say(rules.description)
        summary = _validate(file, source, rules, shown)
    except FileFormatError as error:
        raise click.BadParameter(str(error), param_hint="FILE") from None
    except NotWritableError as error:
        raise click.BadParameter(str(error), param_hint="--as-csv") from None
    if not summary.records:
        say("The file has no records: nothing was checked.")
    sys.exit(ExitCode.BAD_DATA if summary.bad or not summary.records else ExitCode.OK)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown and written: the options of these names."""

    directory: Path | None
    count: int
    is_each: bool
    as_json: bool


def _validate(file: BinaryIO, source: DetectedFile, rules: Rules, shown: _Shown) -> Summary:
    """Validate the file, and show the results and the totals."""
    settings = rules.settings if shown.directory is None else as_bodies(rules.settings)
    check = faults_of_cells if source.file_format is FileFormat.CSV else no_faults
    unit = "record" if source.file_format is FileFormat.JSON else "line"
    output = _Output(shown.count, unit, as_json=shown.as_json)
    with CsvFiles(shown.directory) as files:
        validation = Validation(
            DryRun(settings, _unknown_applications(settings), check),
            rules.topic,
            is_routed=rules.is_routed,
            is_each=shown.is_each,
            take=output.take,
            take_rows=files.write,
        )
        _validate_all(validation, file, source)
    output.end(validation.summary)
    return validation.summary


def _opened(file: BinaryIO, format_name: str) -> DetectedFile:
    """The file in its detected or its given format; prints what the file seems to be."""
    source = detect(file)
    say(f"{'stdin' if file is sys.stdin.buffer else file.name} seems to be {source.description}")
    if format_name in (AUTO, source.file_format):
        return source
    say(f"It is read as {format_name}, because of --format.")
    return replace(source, file_format=FileFormat(format_name))


def _unknown_applications(settings: Settings) -> UnknownApplications:
    if set(settings.appmetrica.applications) == {NO_APPLICATION}:
        return UnknownApplications.ACCEPT
    return UnknownApplications.REJECT


def _validate_all(validation: Validation, file: BinaryIO, source: DetectedFile) -> None:
    is_file = file is not sys.stdin.buffer and Path(file.name).is_file()
    size = Path(file.name).stat().st_size if is_file else None
    reported = 0
    with progress("validating") as report:
        for chunk in read(source.stream, source.file_format):
            validation.validate(chunk, Now(time.monotonic(), time.time()))
            if validation.summary.records - reported >= REPORT_RECORDS:
                reported = validation.summary.records
                note = f"{reported:,} records, {validation.summary.bad:,} invalid"
                report(file.tell() if size is not None else reported, size, note)


class _Output:
    """Prints results and the summary."""

    def __init__(self, count: int, unit: str, *, as_json: bool) -> None:
        self._unit = unit
        self._left = count
        self._as_json = as_json
        self._is_cut = False

    def take(self, result: RecordResult) -> None:
        if self._left == 0:
            self._is_cut = True
            return
        self._left -= 1
        if self._as_json:
            click.echo(orjson.dumps(result.document()))
            return
        document = result.document()
        click.echo(
            f"{self._unit} {result.line}: {document['ending']}"
            + (f" by {result.by}" if result.is_duplicate else "")
            + (f", key {result.key}" if result.key else "")
        )
        for fault in result.faults:
            click.echo(f"  {fault.field or 'record'}: {fault.message}  [{fault.reason}]")

    def end(self, summary: Summary) -> None:
        if self._as_json:
            click.echo(orjson.dumps({"summary": summary.document(), "is_cut": self._is_cut}))
            return
        if self._is_cut:
            click.echo("More records are not shown; use --max to show more.")
        out = console()
        by_content = summary.duplicates_by_content
        out.print(
            f"{count_text(summary.records, 'record')}: {summary.delivered:,} would be delivered, "
            f"duplicates: {summary.duplicates:,}"
            + (f" ({by_content:,} by content alone)" if by_content else "")
            + (f", skipped: {summary.skipped:,}" if summary.skipped else "")
            + f", invalid: {summary.bad:,}"
        )
        if summary.by_reason:
            table = Table("reason", "records", box=None, pad_edge=False)
            for reason, count in summary.by_reason.most_common():
                table.add_row(Text(reason), f"{count:,}")
            out.print(table)
        warnings = summary.warnings.lines()
        if warnings:
            out.print("Warnings: the worker delivers and counts these records.")
        for line in warnings:
            out.print(f"  {line}", soft_wrap=True)
        if summary.hint:
            out.print(f"{summary.hint}.")
