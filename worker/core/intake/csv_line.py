"""One CSV line of a request's body.

Source: RFC 4180, with `\\n` as the line end. A cell is quoted only where it must be: it holds a
comma, a quote or a line break.
"""

from __future__ import annotations


def quote(text: str) -> str:
    """The cell in quotes, with each quote inside it doubled."""
    return '"' + text.replace('"', '""') + '"'


def is_plain(text: str) -> bool:
    """True if no part of `text` needs quoting."""
    return not ("," in text or '"' in text or "\n" in text or "\r" in text)


def encode(cells: list[str], json_cells: tuple[int, ...]) -> bytes:
    """The line of these cells, ended by a newline.

    `json_cells` are the indexes that hold JSON text: it always contains quotes, so it is quoted
    without looking. The others are looked at all together first, because in most lines none of them
    needs quoting.

    Args:
        cells: one text per column, empty for an absent value; JSON cells still unquoted. Consumed:
            the list is changed.
    """
    held = []
    for index in json_cells:
        held.append(cells[index])
        cells[index] = ""
    joined = "".join(cells)
    # As `is_plain`, without the call: this is done for every row.
    if "," in joined or '"' in joined or "\n" in joined or "\r" in joined:
        cells = [cell if is_plain(cell) else quote(cell) for cell in cells]
    for index in json_cells:
        text = held.pop(0)
        if text:
            cells[index] = '"' + text.replace('"', '""') + '"'
    return (",".join(cells) + "\n").encode()
