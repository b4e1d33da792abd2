"""The layers of the environment: variables, and files that are named like variables.

Kubernetes sets variables in every pod for each Service of its namespace. For a Service `amw-worker`
with the port 9090 they are `AMW_WORKER_SERVICE_HOST`, `AMW_WORKER_SERVICE_PORT`,
`AMW_WORKER_SERVICE_PORT_<PORT'S NAME>`, `AMW_WORKER_PORT`, `AMW_WORKER_PORT_9090_TCP`, and the last
with the suffixes `_PROTO`, `_PORT` and `_ADDR`. They are not settings, and a Service's name must
not stop a worker. They are recognised only as a whole: all variables of a Service name the address
in its `_SERVICE_HOST`. So a misspelt setting is still a fault.

Source:
https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path

from worker.core.model.secret_text import SECRET_BYTES_MAX, Unusable, secret_in
from worker.errors import Fault
from worker.settings.layers import ENVIRONMENT_PREFIX, NESTING, Layer, add

# Variables for the command itself, which are not settings.
CONFIG_VARIABLE, SECRETS_VARIABLE = "AMW_CONFIG", "AMW_SECRETS_DIR"
COMMAND_VARIABLES = frozenset(
    {CONFIG_VARIABLE, SECRETS_VARIABLE, "AMW_TOP_CA_FILE", "AMW_TOP_SERVER_NAME"}
)
TEST_PREFIX = "AMW_TEST_"
_EMPTY = "is empty: set a value, or remove it"

# A Service's name in capitals. It can't end in a dash, so AMW_ADMIN__PORT is never a Service's.
_HOST = re.compile(r"(AMW(?:_+[A-Z0-9]+)*)_SERVICE_HOST")
_PORT_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
_SERVICE_PORT = re.compile(r"SERVICE_PORT(?:_[A-Z0-9_]+)?")
_PORT = re.compile(
    r"PORT_(?P<number>[1-9][0-9]{0,4})_(?P<protocol>TCP|UDP|SCTP)(?:_(?P<part>PROTO|PORT|ADDR))?"
)
_PROTOCOLS = ("tcp", "udp", "sctp")


def from_environment(environment: Mapping[str, str]) -> Layer:
    """Every variable that starts with `AMW_`.

    A variable that names no setting is a fault, unless Kubernetes has set it.
    """
    layer = Layer(ignored=service_links(environment))
    for name in sorted(COMMAND_VARIABLES & environment.keys()):
        if not environment[name].strip():
            layer.faults.append(Fault(name, name, _EMPTY))
    for name, value in sorted(environment.items()):
        is_ours = (
            name not in COMMAND_VARIABLES
            and name not in layer.ignored
            and not name.startswith(TEST_PREFIX)
        )
        if name.startswith(ENVIRONMENT_PREFIX) and is_ours:
            _add_variable(layer, name, value, name)
    return layer


def from_secrets(directory: Path, source: str) -> Layer:
    """A directory of files named like variables, each with a value: a mounted secret.

    Args:
        directory: the directory.
        source: the source of a fault of the whole directory.
    """
    layer = Layer()
    try:
        files = sorted(
            path
            for path in directory.iterdir()
            if path.is_file() and path.name.startswith(ENVIRONMENT_PREFIX)
        )
    except OSError as error:
        layer.faults.append(Fault("secrets directory", source, f"can't be read: {error.strerror}"))
        return layer
    for path in files:
        try:
            with path.open("rb") as file:
                value = secret_in(file.read(SECRET_BYTES_MAX + 1))
        except OSError as error:
            layer.faults.append(
                Fault(_setting(path.name), str(path), f"can't be read: {error.strerror}")
            )
            continue
        if isinstance(value, Unusable):
            layer.faults.append(Fault(_setting(path.name), str(path), value.message))
        else:
            _add_variable(layer, path.name, value, str(path))
    return layer


def service_links(environment: Mapping[str, str]) -> frozenset[str]:
    """The names of all variables that Kubernetes has set for Services."""
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
    """Whether Kubernetes sets such a variable for a Service with this address.

    `name` is the variable's name without the Service's own name.
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


def _setting(name: str) -> str:
    """The dotted path of the setting that a variable of this name sets."""
    return ".".join(name.removeprefix(ENVIRONMENT_PREFIX).lower().split(NESTING))


def _add_variable(layer: Layer, name: str, value: str, source: str) -> None:
    path = _setting(name)
    if not value.strip():
        # An empty path would be the working directory, and an empty text a valid name.
        layer.faults.append(Fault(path, source, _EMPTY))
        return
    # Only here: a configuration without variables needs nothing of pydantic-settings, which takes
    # 20 ms to import.
    from worker.settings.one_variable import NotJsonError, values_of

    try:
        values = values_of(name, value)
    except NotJsonError:
        layer.faults.append(
            Fault(
                path,
                source,
                "must be JSON without repeated keys: this setting is a list or an object",
            )
        )
        return
    if values:
        add(layer, values, source)
    else:
        near = get_close_matches(name, COMMAND_VARIABLES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        layer.faults.append(Fault(path, source, f"no setting has this name{hint}"))
