"""Variables that Kubernetes sets in every pod for each Service of its namespace, and that are no
settings.

For a Service `amw-worker` with the port 9090 they are `AMW_WORKER_SERVICE_HOST`,
`AMW_WORKER_SERVICE_PORT`, `AMW_WORKER_SERVICE_PORT_<PORT'S NAME>`, `AMW_WORKER_PORT`,
`AMW_WORKER_PORT_9090_TCP`, and the last with `_PROTO`, `_PORT` or `_ADDR` behind it. A pod template
may switch them off (`enableServiceLinks: false`), yet nobody expects a Service's name to stop a
worker.

Recognised only as a whole: all of a Service's variables name the one address in its
`_SERVICE_HOST`. So a setting that is misspelt stays a fault.

Source:
https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address

# A Service's name in capitals. It can't end in a dash, so AMW_ADMIN__PORT is never a Service's.
_HOST = re.compile(r"(AMW(?:_+[A-Z0-9]+)*)_SERVICE_HOST")
_PORT_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_SERVICE_PORT = re.compile(r"SERVICE_PORT(?:_[A-Z0-9_]+)?")
_PORT = re.compile(
    r"PORT_(?P<number>[1-9][0-9]{0,4})_(?P<protocol>TCP|UDP|SCTP)(?:_(?P<part>PROTO|PORT|ADDR))?"
)
_PROTOCOLS = ("tcp", "udp", "sctp")


def service_links(environment: Mapping[str, str]) -> frozenset[str]:
    """The names of those variables among all of a process."""
    found: set[str] = set()
    for host_name, address in environment.items():
        match = _HOST.fullmatch(host_name)
        if match is not None and _is_address(address):
            service = f"{match[1]}_"
            found |= {
                name
                for name, value in environment.items()
                if name.startswith(service) and _is_link(name.removeprefix(service), value, address)
            }
    return frozenset(found)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_link(name: str, value: str, address: str) -> bool:
    """Whether a Service with this address gets such a variable; `name` is what follows the
    Service's own name.
    """
    if name == "SERVICE_HOST":
        return value == address
    if _SERVICE_PORT.fullmatch(name) is not None:
        return _PORT_NUMBER.fullmatch(value) is not None
    host = f"[{address}]" if ":" in address else address
    if name == "PORT":
        protocol, separator, rest = value.partition(f"://{host}:")
        return (
            bool(separator) and protocol in _PROTOCOLS and _PORT_NUMBER.fullmatch(rest) is not None
        )
    match = _PORT.fullmatch(name)
    if match is None:
        return False
    protocol, number = match["protocol"].lower(), match["number"]
    expected = {
        None: f"{protocol}://{host}:{number}",
        "PROTO": protocol,
        "PORT": number,
        "ADDR": address,
    }
    return value == expected[match["part"]]
