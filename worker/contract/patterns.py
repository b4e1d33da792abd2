"""Regular expressions for what is written as text in JSON.

Only what all engines know: JSON Schema means ECMA-262, Go's engine has no look-ahead. `$` is the
very end, as in ECMA-262; to Python's own `re` it may stand before a last newline as well.

Source: JSON Schema 2020-12 core, section 6.4, the tokens that schema authors should limit
themselves to.
"""

from __future__ import annotations

# What str.strip() takes off: written as themselves, because engines differ in how they escape
# characters beyond ASCII.
WHITE_SPACE = "".join(character for character in map(chr, range(0x3001)) if character.isspace())
# What an element of an array may not hold: it separates and ends elements in the API's own form.
_ENDING = r",\[\]\"\n\r"
_ELEMENT = rf"[^{_ENDING}{WHITE_SPACE}]([^{_ENDING}]*[^{_ENDING}{WHITE_SPACE}])?"

ELEMENT = rf"^{_ELEMENT}$"
ARRAY_TEXT = rf"^\[({_ELEMENT}(,{_ELEMENT})*)?\]$"
# All that can be said of an object within a string without reading it.
OBJECT_TEXT = r"^[ \t\n\r]*\{[\s\S]*\}[ \t\n\r]*$"
# Four characters of exponent at most, its sign included.
DECIMAL_TEXT = r"^-?[0-9]+(\.[0-9]+)?([eE]([0-9]{1,4}|[+-][0-9]{1,3}))?$"


def digits(minimum: int, maximum: int) -> str:
    """Integers in these bounds as digits, zeros in front allowed.

    Raises:
        ValueError: the minimum is neither 0 nor 1: no column has another one.
    """
    if minimum not in (0, 1):
        raise ValueError(f"there is no pattern for a minimum of {minimum}")
    text = str(maximum)
    first = "[1-9]" if minimum else "[0-9]"
    if set(text) == {"9"}:
        return f"^0*{first}[0-9]{{0,{len(text) - 1}}}$"
    ways = [f"{first}[0-9]{{0,{len(text) - 2}}}"] if len(text) > 1 else []
    for place, digit in enumerate(text):
        # The first digit of a number of full length is no zero; numbers of one digit may be one.
        lowest = max(minimum, int(len(text) > 1)) if place == 0 else 0
        if int(digit) > lowest:
            ways.append(
                f"{text[:place]}[{lowest}-{int(digit) - 1}][0-9]{{{len(text) - place - 1}}}"
            )
    return f"^0*({'|'.join((*ways, text))})$"
