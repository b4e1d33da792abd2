"""Private names of aiokafka: each that is missing is named at start-up, before anything begins."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiokafka
import pytest
from click.testing import CliRunner

from worker.cli.main import cli
from worker.daemon import app
from worker.edges.kafka import aiokafka_internals
from worker.edges.kafka.aiokafka_internals.expected_names import (
    EXPECTED_NAMES,
    ExpectedName,
    check,
)
from worker.errors import ExitCode, UnavailableError

KEY = "AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY"


@pytest.fixture
def remove(monkeypatch: pytest.MonkeyPatch) -> Callable[[ExpectedName], None]:
    """Make aiokafka look like a release without a name."""

    def removed(name: ExpectedName) -> None:
        if not name.is_set_at_start:
            monkeypatch.delattr(name.owner, name.attribute)
            return
        init: Any = name.owner.__init__  # type: ignore[misc]
        names = tuple(
            "_renamed" if one == name.attribute else one for one in init.__code__.co_names
        )
        monkeypatch.setattr(init, "__code__", init.__code__.replace(co_names=names))

    return removed


def message(name: ExpectedName) -> str:
    return (
        f"aiokafka {aiokafka.__version__} lacks {name}, which the worker uses: "
        "install the release of aiokafka that the worker's lock file names"
    )


def test_the_installed_release_has_all_names() -> None:
    check()


@pytest.mark.parametrize("name", EXPECTED_NAMES, ids=str)
def test_a_missing_name_is_one_line_with_release_and_name(
    name: ExpectedName, remove: Callable[[ExpectedName], None]
) -> None:
    remove(name)
    with pytest.raises(UnavailableError) as caught:
        check()
    assert str(caught.value) == message(name)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_check_config_reports_a_missing_name(remove: Callable[[ExpectedName], None]) -> None:
    remove(EXPECTED_NAMES[0])
    result = CliRunner().invoke(cli, ["check-config"], env={KEY: "secret-key"})
    assert isinstance(result.exception, UnavailableError)
    assert str(result.exception) == message(EXPECTED_NAMES[0])


async def test_the_daemon_does_not_start_without_a_name(
    remove: Callable[[ExpectedName], None],
) -> None:
    remove(EXPECTED_NAMES[0])
    nothing_is_looked_at: Any = None
    with pytest.raises(UnavailableError, match="lacks"):
        await app.run(nothing_is_looked_at)


def test_every_private_name_that_is_used_is_expected() -> None:
    used = {
        node.attr
        for path in Path(aiokafka_internals.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    expected = {name.attribute for name in EXPECTED_NAMES if name.attribute.startswith("_")}
    assert used == expected
