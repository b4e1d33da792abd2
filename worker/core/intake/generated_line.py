"""The statements of the generated fast pass that write the line of a row.

They write the same bytes as `line.writer` does for the thorough pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.core.intake.fast_pass import PAIR
from worker.core.intake.layout import Layout
from worker.core.intake.line import QUOTED
from worker.core.post_api.column import Kind


def cell_variables(layout: Layout) -> list[tuple[str, Kind]]:
    """Return the variable of each cell and the kind of its column, in the order of the line.

    The identity is the second cell.
    """
    cells = [
        (f"v{index}", place.column.kind) for index, place in enumerate(layout.places[PAIR:], PAIR)
    ]
    return [cells[0], ("identity", Kind.STRING), *cells[1:]]


def csv_statements(layout: Layout) -> Iterator[str]:
    """Yield statements that write CSV; cells of JSON are always quoted, others where necessary.

    All others are searched at once, because most rows need no quotes; 40 % of the rows that do
    have a comma only (`iPhone14,5`).
    """
    groups: list[list[str]] = [[]]
    pieces: list[str] = []
    for variable, kind in cell_variables(layout):
        if kind in QUOTED:
            pieces += [f"cells{len(groups) - 1}"] * bool(groups[-1]) + [variable]
            groups += [[]] * bool(groups[-1])
            groups[-1] = []
        else:
            groups[-1].append(variable)
    if groups[-1]:
        pieces.append(f"cells{len(groups) - 1}")
    else:
        groups.pop()
    numbers = range(len(groups))
    commas = sum(len(group) - 1 for group in groups)
    joined = [f"text{number} = ','.join(cells{number})" for number in numbers]
    for number, group in enumerate(groups):
        yield f"cells{number} = ({', '.join(group)},)"
    yield "try:"
    yield from indented(joined)
    yield "except TypeError:"
    for number in numbers:
        yield f"    cells{number} = texts_of(cells{number})"
    yield from indented(joined)
    yield f"plain = {' + '.join(f'text{number}' for number in numbers)}"
    yield """if '"' in plain or '\\n' in plain or '\\r' in plain:"""
    for number in numbers:
        yield f"    text{number} = special_quoted(cells{number})"
    yield f"elif plain.count(',') != {commas}:"
    for number in numbers:
        yield f"    text{number} = comma_quoted(cells{number})"
    for piece in pieces:
        if piece.startswith("v"):
            yield f"if {piece}:"
            yield f"""    {piece} = '"' + {piece}.replace('"', '""') + '"'"""
    texts = ",".join(f"{{{piece.replace('cells', 'text')}}}" for piece in pieces)
    yield f"line = f'{texts}\\n'.encode()"


def other_statements(layout: Layout) -> Iterator[str]:
    """Yield statements that let `line.writer` write CSV of some columns, or a query string."""
    yield f"cells = [{', '.join(variable for variable, _ in cell_variables(layout))}]"
    yield "try:"
    yield "    ''.join(cells)"
    yield "except TypeError:"
    yield "    cells = texts_of(cells)"
    yield "destination, line = write(destination, cells)"


def indented(statements: Sequence[str]) -> list[str]:
    """Return the statements one level deeper."""
    return [f"    {statement}" for statement in statements]
