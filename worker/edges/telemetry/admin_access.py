"""Who may read the admin port, and what a browser may do with the answers.

Without a token, who reaches the port may read it. A token guards everything but the probes, which
a kubelet sends without one. It is also accepted as the password of HTTP Basic: browsers ask their
user for that, and for no bearer token.

A web page of a stranger must not reach it through the browser of somebody who can. Such a page may
let its own name point to the worker's address (DNS rebinding): to the browser both are then one
site. But the request still carries that name, so only names that no stranger can own are answered.
`/metrics` and the probes are exempt: scrapers and load balancers use any name, and these answers
hold only numbers.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import socket
from base64 import b64decode
from collections.abc import Iterable
from types import MappingProxyType

# Any page may be shown in a frame, and scripts be loaded from anywhere, unless a header forbids it.
SECURITY_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
PROBE_PATHS = frozenset({"/livez", "/readyz"})
UNCHECKED_PATHS = PROBE_PATHS | {"/metrics"}
# Both ways to send the token. Source: RFC 9110, section 11.6.1.
CHALLENGE = 'Bearer realm="appmetrica-worker", Basic realm="appmetrica-worker", charset="UTF-8"'
ANY_HOST = "*"
# Top-level names that nobody can register in public.
# Source: RFC 6761, RFC 6762, ICANN's reservation of .internal; the names of Kubernetes services.
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".svc")


class HostCheck:
    """Knows the names under which the page and `/status` are answered.

    Args:
        allowed: further names, from `admin.allowed_hosts`; `*` allows every name.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        names = {name.lower().rstrip(".") for name in allowed}
        self._allows_any = ANY_HOST in names
        self._names = names | {socket.gethostname().lower()}

    def is_allowed(self, host: str | None) -> bool:
        """Return whether a request with this `Host` header is answered.

        An absent header is no browser's.
        """
        if host is None or self._allows_any:
            return True
        name = _name_of(host)
        return (
            name in self._names
            or _is_address(name)
            # A name without a dot is looked up in the local network only.
            or ("." not in name and name != "")
            or name.endswith(_PRIVATE_SUFFIXES)
        )


def carries_token(authorization: str | None, token: str) -> bool:
    """Return whether an `Authorization` header carries the token.

    The time that this takes doesn't depend on where the first wrong character is.
    """
    scheme, _, credentials = (authorization or "").partition(" ")
    given = credentials.strip().encode(errors="surrogateescape")
    match scheme.lower():
        case "bearer":
            return hmac.compare_digest(given, token.encode())
        case "basic":
            return hmac.compare_digest(_password_of(given), token.encode())
        case _:
            return False


def _password_of(credentials: bytes) -> bytes:
    """Return the password of HTTP Basic; empty if there is none."""
    try:
        return b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _name_of(host: str) -> str:
    """Return the host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
