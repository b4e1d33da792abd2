"""The workflow is what GitHub runs; zizmor's part is in `tests/install`."""

from __future__ import annotations

from pathlib import Path

import pytest

from verification.cluster.programs import built
from verification.cluster.world import RefusedError, run

pytestmark = pytest.mark.cluster

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))
WRONG = """
on: push
jobs:
  check:
    runs-on: ubuntu-24.04
    steps:
      - run: echo ${{ github.nothing }}
"""


async def _lint(*files: Path) -> str:
    # Without shellcheck and pyflakes, wherever they are installed.
    options = ("-no-color", "-shellcheck=", "-pyflakes=")
    return await run(str(built().bin / "actionlint"), *options, *map(str, files))


async def test_actionlint_has_no_complaint() -> None:
    assert WORKFLOWS
    assert await _lint(*WORKFLOWS) == ""


async def test_actionlint_complains_about_a_wrong_expression(tmp_path: Path) -> None:
    (tmp_path / "wrong.yml").write_text(WRONG)
    with pytest.raises(RefusedError, match=r'property "nothing" is not defined'):
        await _lint(tmp_path / "wrong.yml")
