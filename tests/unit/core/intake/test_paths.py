"""Paths: what leads to one value is read, everything else is a fault that says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.searches import CHARACTERS
from worker.core.intake.paths import INDEX_MAX, Path, clash, parse_path, spelled


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("$.name", ("name",)),
        ("$.user.id", ("user", "id")),
        ("$.events[0].params", ("events", 0, "params")),
        ("$.events[99][0]", ("events", 99, 0)),
        ("$['a.b']", ("a.b",)),
        ('$["a b"].c', ("a b", "c")),
        ("$.a['it\\'s']", ("a", "it's")),
        ("$['*']", ("*",)),
        ("$['0']", ("0",)),
        ("$.@type", ("@type",)),
        ("$.user-id", ("user-id",)),
        ("$.имя", ("имя",)),
    ],
    ids=str,
)
def test_a_path_leads_by_names_and_indexes(text: str, path: Path) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "must be a path"),
        ("", "must be a path"),
        (".a", "must be a path"),
        ("$", "must start with a name"),
        ("$[0]", "must start with a name"),
        ("$.", "not a step"),
        ("$.a.", "not a step"),
        ("$.a b", "not a step"),
        ("$.a[", "not a step"),
        ("$.a['b", "not a step"),
        ("$.a[01]", "not a step"),
        ("$.a..b", "leads to many values"),
        ("$..b", "leads to many values"),
        ("$.*", "wildcard"),
        ("$.a[*].b", "wildcard"),
        ("$.a*", "wildcard"),
        ("$.a[?(@.b>1)]", "filter"),
        ("$.a[?@.b]", "filter"),
        ("$.a[(@.length-1)]", "filter or an expression"),
        ("$.a[-1]", "counts from the start"),
        ("$.a[0:2]", "slice"),
        ("$.a[0,1]", "slice or a list"),
        (f"$.a[{INDEX_MAX + 1}]", f"at most {INDEX_MAX}"),
        ("$.a[" + "9" * 5000 + "]", f"at most {INDEX_MAX}"),
    ],
    ids=lambda value: value[:20],
)
def test_what_does_not_lead_to_one_value_is_a_fault(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_path(text)


@given(
    st.lists(
        st.text(CHARACTERS, min_size=1, max_size=4)
        | st.sampled_from(["a.b", "'", "\\", "]", "*"])
        | st.integers(0, INDEX_MAX),
        max_size=4,
    )
)
def test_a_spelled_path_is_read_as_the_same_path(steps: list[str | int]) -> None:
    path = ("a", *steps)
    assert parse_path(f"$.{spelled(path)}") == path


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([("a",), ("b",), ("b", "c")], (("b",), ("b", "c"))),
        ([("b", "c"), ("b",)], (("b", "c"), ("b",))),
        ([("a", "b"), ("a", "b")], (("a", "b"), ("a", "b"))),
        ([("a", "b"), ("a", 0)], (("a", "b"), ("a", 0))),
        ([("a", "b"), ("a", "c"), ("d",)], None),
        ([("a", 0), ("a", 1, "b")], None),
    ],
    ids=str,
)
def test_paths_clash_where_one_contains_the_other(
    paths: list[Path], expected: tuple[Path, Path] | None
) -> None:
    assert clash([(path, False) for path in paths]) == expected


def test_other_paths_may_lead_into_an_object() -> None:
    assert clash([(("a",), True), (("a", "b"), False), (("a", "c", "d"), False)]) is None
    assert clash([(("a", "b"), False), (("a",), True)]) is None
    assert clash([(("a",), True), (("a",), False)]) == (("a",), ("a",))
