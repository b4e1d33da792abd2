"""Strategies: rows of every resource as JSON texts, each with the cells that must come of it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.builders import APPLICATION_ID, UNIX_SECONDS
from tests.searches import CHARACTERS
from worker.core.post_api.column import Column, Kind
from worker.core.post_api.resource import IDENTITY_COLUMNS, Identity, Resource


@dataclass(frozen=True, slots=True)
class Sent:
    """One event: its JSON text, its identity, and its cells by column without the absent ones."""

    json_text: bytes
    identity: Identity
    cells: dict[str, str]


# A value's JSON text, and the cell that it must become.
Written = tuple[str, str]

TEXTS = st.text(
    st.one_of(CHARACTERS, st.sampled_from("\",\n\r;\t\0 '=+&%[]{}\\\u2028\x85🙂")),
    min_size=1,
    max_size=20,
)
SPACES = st.sampled_from(["", "", " ", "\n", "\t", "\r\n  "])


def _string(text: str, *, is_ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=is_ascii)


@st.composite
def json_numbers(draw: st.DrawFn, whole_digits: int = 30) -> str:
    """A number as JSON writes it, without an exponent, of up to 30 digits after the point."""
    whole = draw(st.integers(0, 10**whole_digits - 1).map(str))
    fraction = draw(st.none() | st.text("0123456789", min_size=1, max_size=30))
    return draw(st.sampled_from(["", "-"])) + whole + ("" if fraction is None else f".{fraction}")


@st.composite
def json_objects(draw: st.DrawFn) -> str:
    """The text of an object: nested, with white space anywhere, and with repeated names."""
    leaves = st.one_of(
        st.sampled_from(["null", "true", "false", "1e400", "-0", "1.50"]),
        json_numbers(),
        TEXTS.map(json.dumps),
        st.just('"\\u0000"'),
    )

    def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        arrays = st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        return arrays | _object_of(inner)

    return draw(_object_of(st.recursive(leaves, containers, max_leaves=6)))


def _object_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    names = st.sampled_from(["a", "a", "b", 'quote"d', "имя", ""]).map(json.dumps)
    member = st.tuples(SPACES, names, SPACES, inner, SPACES).map(
        lambda parts: f"{parts[0]}{parts[1]}{parts[2]}:{parts[3]}{parts[4]}"
    )
    return st.lists(member, max_size=4).map(lambda members: f"{{{','.join(members)}}}")


@st.composite
def _in_string_or_bare(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> Written:
    text = draw(texts)
    return (_string(text, is_ascii=draw(st.booleans())) if draw(st.booleans()) else text), text


ATTRIBUTES = st.dictionaries(
    TEXTS,
    st.one_of(
        st.booleans(), st.integers(), TEXTS, st.floats(allow_nan=False, allow_infinity=False)
    ),
    max_size=4,
).map(json.dumps)
ELEMENTS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters=',[]"\n\r'),
        min_size=1,
        max_size=8,
    ).filter(lambda one: one == one.strip()),
    min_size=1,
    max_size=3,
)


@st.composite
def _arrays(draw: st.DrawFn) -> Written:
    elements = draw(ELEMENTS)
    form = f"[{','.join(elements)}]"
    return (json.dumps(elements) if draw(st.booleans()) else json.dumps(form)), form


@st.composite
def _integers(draw: st.DrawFn, smallest: int, largest: int) -> Written:
    number = draw(st.integers(smallest, largest) | st.sampled_from([smallest, largest]))
    return (f'"{number}"' if draw(st.booleans()) else str(number)), str(number)


@st.composite
def _addresses(draw: st.DrawFn) -> Written:
    address = draw(st.ip_addresses())
    return f'"{address}"', str(address) if address.version == 6 else f"::ffff:{address}"


# As PHP writes an empty object.
_EMPTY_ARRAYS = st.sampled_from(["[]", "[ ]", '"[]"']).map(lambda text: (text, "{}"))


def _values(column: Column) -> st.SearchStrategy[Written]:
    match column.kind:
        case Kind.STRING:
            texts = st.tuples(TEXTS, st.booleans()).map(
                lambda pair: (_string(pair[0], is_ascii=pair[1]), pair[0])
            )
            return texts | st.integers().map(lambda number: (str(number), str(number)))
        case Kind.INTEGER | Kind.DEVICE_ID:
            return _integers(column.minimum, column.maximum)
        case Kind.TIMESTAMP:
            return _integers(UNIX_SECONDS - 1_209_600, UNIX_SECONDS + 86_400)
        case Kind.DECIMAL:
            return _in_string_or_bare(json_numbers(10))
        case Kind.JSON_OBJECT:
            return _in_string_or_bare(json_objects()) | _EMPTY_ARRAYS
        case Kind.ATTRIBUTES:
            return _in_string_or_bare(ATTRIBUTES) | _EMPTY_ARRAYS
        case Kind.ARRAY:
            return _arrays()
        case Kind.SESSION_TYPE:
            return st.sampled_from(["foreground", "background"]).map(
                lambda text: (f'"{text}"', text)
            )
        case Kind.IPV6:
            return _addresses()


@st.composite
def events_of(draw: st.DrawFn, resource: Resource) -> Sent:
    """An event of this resource: all that is required, and any of the rest."""
    identity = draw(st.sampled_from(Identity))
    optional = [column for column in resource.columns if not column.required]
    present = (
        draw(st.lists(st.sampled_from(optional), unique_by=lambda column: column.name, max_size=8))
        if optional
        else []
    )
    chosen = [
        IDENTITY_COLUMNS[identity],
        *(column for column in resource.columns if column.required),
        *present,
    ]
    written: dict[str, Written] = {column.name: draw(_values(column)) for column in chosen}
    written["application_id"] = (str(APPLICATION_ID), str(APPLICATION_ID))
    members = draw(
        st.permutations([f"{json.dumps(name)}:{text}" for name, (text, _) in written.items()])
    )
    cells = {name: cell for name, (_, cell) in written.items()}
    return Sent(f"{{{','.join(members)}}}".encode(), identity, cells)
