"""Variables that Kubernetes sets for Services are no settings; similar names stay a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.settings.environment import service_links
from worker.settings.load import load

KEY = {"AMW_APPMETRICA__APPLICATIONS__1111__POST_API_KEY": "secret-key"}


def links(service: str, address: str = "10.96.0.7", host: str | None = None) -> dict[str, str]:
    """As kubelet sets them for a Service of two ports, the first one named http."""
    host = host or address
    environment = {
        f"{service}_SERVICE_HOST": address,
        f"{service}_SERVICE_PORT": "9090",
        f"{service}_SERVICE_PORT_HTTP": "9090",
        f"{service}_PORT": f"tcp://{host}:9090",
    }
    for number, protocol in (("9090", "tcp"), ("53", "udp")):
        name = f"{service}_PORT_{number}_{protocol.upper()}"
        environment |= {
            name: f"{protocol}://{host}:{number}",
            f"{name}_PROTO": protocol,
            f"{name}_PORT": number,
            f"{name}_ADDR": address,
        }
    return environment


@pytest.mark.parametrize(
    "environment",
    [
        links("AMW"),
        links("AMW_WORKER"),
        links("AMW_WORKER_2") | links("AMW_KAFKA__PROXY", "10.0.0.8"),
        links("AMW", "fd00::7", "[fd00::7]"),
    ],
    ids=["amw", "amw-worker", "two Services", "IPv6"],
)
def test_the_variables_of_a_service_are_ignored_and_named(environment: dict[str, str]) -> None:
    assert service_links(environment) == environment.keys()
    loaded = load(None, KEY | environment, None, {})
    assert loaded.ignored == environment.keys()
    assert loaded.settings == load(None, KEY, None, {}).settings


def test_a_setting_beside_them_is_a_setting() -> None:
    loaded = load(None, KEY | links("AMW_ADMIN") | {"AMW_ADMIN__PORT": "1234"}, None, {})
    assert loaded.settings.admin.port == 1234
    assert "AMW_ADMIN__PORT" not in loaded.ignored


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AMW_PORT", "9090"),
        ("AMW_PORT", "tcp://10.96.0.8:9090"),
        ("AMW_PORT", "http://10.96.0.7:9090"),
        ("AMW_PORT_9090_TCP", "tcp://10.96.0.7:9091"),
        ("AMW_PORT_9090_TCP_ADDR", "10.96.0.8"),
        ("AMW_PORT_9090_TCP_PORT", "90"),
        ("AMW_PORT_9090_HTTP", "http://10.96.0.7:9090"),
        ("AMW_SERVICE_PORT", "http"),
        ("AMW_SERVICE_NAME", "10.96.0.7"),
        ("AMW_ADMIN_PORT", "9090"),
        ("AMW_OTHER_SERVICE_PORT", "9090"),
        ("AMW_OTHER_SERVICE_HOST", "kafka"),
    ],
)
def test_what_is_not_exactly_of_that_shape_stays_a_fault(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, KEY | links("AMW") | {name: value}, None, {})
    (fault,) = caught.value.faults
    # A variable of a similar name may be suggested behind it.
    assert (fault.source, fault.message.partition(";")[0]) == (name, "no setting has this name")


def test_they_are_faults_where_no_service_has_such_an_address() -> None:
    environment = {
        name: value for name, value in links("AMW").items() if name != "AMW_SERVICE_HOST"
    }
    with pytest.raises(ConfigurationError) as caught:
        load(None, KEY | environment, None, {})
    assert {one.source for one in caught.value.faults} == environment.keys()


def test_a_secret_file_of_that_shape_is_a_fault(tmp_path: Path) -> None:
    named = links("AMW")
    for name, value in named.items():
        (tmp_path / name).write_text(value)
    with pytest.raises(ConfigurationError) as caught:
        load(None, KEY, tmp_path, {})
    assert {one.source for one in caught.value.faults} == {str(tmp_path / name) for name in named}
