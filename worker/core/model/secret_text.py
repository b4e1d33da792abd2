"""The rules for the content of a secret's file, the same at the start and at each change."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A secret is some dozens of characters, a private key some thousands; a file of more than this was
# named by mistake.
SECRET_BYTES_MAX = 64 * 1024

# A secret is masked wherever its characters occur in a log line. The characters of a shorter secret
# occur nearly everywhere: lines would be unreadable, and their gaps would show the secret.
SECRET_CHARACTERS_MIN = 4

# An attacker may try any number of tokens.
TOKEN_CHARACTERS_MIN = 16
# Source: RFC 6750, section 2.1.
_TOKEN = re.compile(r"[0-9A-Za-z._~+/-]+=*")
_MARK = "\ufeff"
_QUOTES = frozenset("'\"`\u2018\u2019\u201c\u201d\u00ab\u00bb")


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why a text is no secret.

    `message` continues a sentence that begins with the name of the file or setting. It doesn't
    contain the text.
    """

    message: str


def secret_in(data: bytes) -> str | Unusable:
    """The secret in a file with these bytes: all but the line breaks at its end.

    Editors and `echo` write these line breaks.
    """
    if len(data) > SECRET_BYTES_MAX:
        return Unusable(
            f"is larger than {SECRET_BYTES_MAX:,} bytes: this is not a file of a secret"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Unusable("is not UTF-8 text")
    if text.startswith(_MARK):
        return Unusable("begins with a byte order mark: save it as UTF-8 without one")
    return text.rstrip("\r\n") or Unusable("is empty")


def key_in(data: bytes) -> str | Unusable:
    """The API key that a file with these bytes holds; no white space at its end belongs to it."""
    secret = secret_in(data)
    if isinstance(secret, Unusable):
        return secret
    key = secret.rstrip()
    return unusable_key(key) or key


def unusable_key(text: str) -> Unusable | None:
    """Why this can't be an API key; None: it may be one."""
    if not text:
        return Unusable("is empty")
    if any(character.isspace() for character in text):
        return Unusable("contains white space: a key has none")
    if not _QUOTES.isdisjoint(text):
        return Unusable("contains quotes: write the key without quotes")
    if not text.isprintable():
        return Unusable(
            "contains an invisible character, such as a byte order mark: write the key again"
        )
    return too_short(text)


def token_in(data: bytes) -> str | Unusable:
    """The bearer token that a file with these bytes holds."""
    secret = secret_in(data)
    if isinstance(secret, Unusable):
        return secret
    return unusable_token(secret) or secret


def unusable_token(text: str) -> Unusable | None:
    """Why this can't be a bearer token; None: it can."""
    if _TOKEN.fullmatch(text) is None:
        return Unusable(
            "may hold only letters, digits and -._~+/ and end in =: others don't fit a header"
        )
    if len(text) < TOKEN_CHARACTERS_MIN:
        return Unusable(
            f"has fewer than {TOKEN_CHARACTERS_MIN} characters: it could be guessed; write a "
            "longer one, as of `openssl rand -hex 32`"
        )
    return None


def too_short(text: str) -> Unusable | None:
    """Why this secret can't be kept out of log lines; None: it can."""
    if len(text) >= SECRET_CHARACTERS_MIN:
        return None
    return Unusable(
        f"has fewer than {SECRET_CHARACTERS_MIN} characters: it can't be masked in log lines "
        "without masking other text"
    )
