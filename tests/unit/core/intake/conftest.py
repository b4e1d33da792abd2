"""Every test of the intake runs on both forms of the fast pass."""

from __future__ import annotations

import pytest

from tests.pass_forms import FORMS, use_form
from worker.core.intake.pass_choice import PassForm


@pytest.fixture(autouse=True, params=FORMS)
def pass_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> PassForm:
    """The form that reads the events of the test."""
    return use_form(request.param, monkeypatch)
