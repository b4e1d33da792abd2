"""The two forms of the fast pass, for tests that run on each of them."""

from __future__ import annotations

import pytest

from worker.core.intake.generated_pass import generate_fast_pass
from worker.core.intake.pass_choice import PASS_FORM, PassForm
from worker.core.intake.reader import Reader

NOT_BUILT = "the compiled pass is not built: `make compiled` says why"
needs_compiled = pytest.mark.skipif(PASS_FORM is not PassForm.COMPILED, reason=NOT_BUILT)
FORMS = [pytest.param(PassForm.COMPILED, marks=needs_compiled), PassForm.PYTHON]


class GeneratedReader(Reader):
    """A reader without the compiled pass."""

    make_fast_pass = staticmethod(generate_fast_pass)


def use_form(form: PassForm, monkeypatch: pytest.MonkeyPatch) -> PassForm:
    """Let readers that are made from now on have this form."""
    if form is PassForm.PYTHON:
        monkeypatch.setattr(Reader, "make_fast_pass", staticmethod(generate_fast_pass))
    return form
