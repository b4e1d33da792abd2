"""YAML of the configuration: types of version 1.2, text for keys, differences of versions."""

from __future__ import annotations

import math

import pytest

from worker.settings.yaml_text import NotYamlError, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1111", 1111),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("0x457", 1111),
        ("0o17", 15),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("2026-13-45", "2026-13-45"),
        ("2026-11-28", "2026-11-28"),
        ("=", "="),
        ("'01111'", "01111"),
        ("!!str 01111", "01111"),
        ("!!int '12'", 12),
    ],
)
def test_a_plain_word_is_what_yaml_1_2_says(text: str, value: object) -> None:
    document = read(f"a: {text}")
    assert (document.value, document.faults) == ({"a": value}, [])
    assert type(document.value["a"]) is type(value)


def test_not_a_number_is_a_number_all_the_same() -> None:
    assert math.isnan(read(".nan").value)


@pytest.mark.parametrize("text", ["01111", "0123", "-007", "08", "00"])
def test_a_number_with_a_leading_zero_is_found_wherever_it_is(text: str) -> None:
    document = read(f"a: 1\nb:\n  - {text}\n{text}: x\n")
    assert [(one.path, one.line) for one in document.faults] == [
        (("b", "0"), 3),
        ((str(int(text)),), 4),
    ]
    assert all("leading zero" in one.message and text not in one.message for one in document.faults)


@pytest.mark.parametrize(
    "keys", [("0x457", "1111"), ("1111", "'1111'"), ("+1111", "0o2127"), ("yes", "'yes'")]
)
def test_keys_that_are_one_key_under_two_names_are_repeated(keys: tuple[str, str]) -> None:
    document = read(f"a:\n  {keys[0]}: x\n  {keys[1]}: y\n")
    assert [(one.line, one.message) for one in document.faults] == [(3, "this key is repeated")]


def test_keys_are_text_as_it_is_written_and_numbers_as_they_are_counted() -> None:
    document = read("null: a\nno: b\n0x457: c\n1.50: d\n")
    assert document.value == {"null": "a", "no": "b", "1111": "c", "1.50": "d"}
    assert document.lines == {("null",): 1, ("no",): 2, ("1111",): 3, ("1.50",): 4}


@pytest.mark.parametrize(
    "text",
    [
        "!!int hidden",
        "!!bool hidden",
        "!!float hidden",
        "!!timestamp 2026-13-45",
        "!!set {a}",
        "? [hidden]\n: b",
        "9" * 5000,
    ],
)
def test_what_is_not_of_its_type_is_an_error_that_shows_nothing_of_it(text: str) -> None:
    with pytest.raises(NotYamlError, match="line 1, column") as caught:
        read(text)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "next_level"),
    [("&a0 [x, x]", "[{}]"), ("&a0 {x: 1}", "{{<<: [{}]}}")],
    ids=["lists", "merge keys"],
)
def test_aliases_that_make_millions_of_values_of_few_lines_are_refused(
    first: str, next_level: str
) -> None:
    lines = [f"k0: {first}"]
    for level in range(1, 8):
        inner = next_level.format(", ".join([f"*a{level - 1}"] * 10))
        lines.append(f"k{level}: &a{level} {inner}")
    with pytest.raises(NotYamlError, match="more than 100,000 values"):
        read("\n".join(lines))


def test_a_thousand_aliases_are_no_fault() -> None:
    text = "k: &a {x: 1, y: 2}\n" + "".join(f"k{number}: *a\n" for number in range(1000))
    assert len(read(text).value) == 1001
