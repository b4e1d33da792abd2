"""Faults of the section `kafka`: addresses, times, and logins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.loading import assert_fault

CASES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "a port that doesn't exist": (
        "kafka: {bootstrap_servers: 'a:70000'}",
        {},
        "kafka.bootstrap_servers",
        "host:port",
    ),
    "a login without SASL": (
        "kafka: {sasl_username: a}",
        {},
        "kafka",
        "sasl_username has no effect with security_protocol PLAINTEXT",
    ),
    "a certificate without TLS": (
        "kafka: {ssl_ca_file: /ca}",
        {},
        "kafka",
        "ssl_ca_file has no effect",
    ),
    "times that don't rise": (
        "kafka: {session_timeout_seconds: 20}",
        {},
        "kafka",
        "request_timeout_seconds (40) must be less than session_timeout_seconds (20)",
    ),
    "tokens without their source": (
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: OAUTHBEARER}",
        {},
        "kafka",
        "sasl_oauth is required with sasl_mechanism OAUTHBEARER",
    ),
    "a source of tokens without a login": (
        "kafka: {sasl_oauth: {token_file: /token}}",
        {},
        "kafka",
        "sasl_oauth has no effect with security_protocol PLAINTEXT",
    ),
    "a source of tokens with a password's mechanism": (
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me, "
        "sasl_password: hidden, sasl_oauth: {token_file: /token}}",
        {},
        "kafka",
        "sasl_oauth has no effect with sasl_mechanism PLAIN",
    ),
    "a user with tokens": (
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: OAUTHBEARER, sasl_username: me, "
        "sasl_oauth: {token_file: /token}}",
        {},
        "kafka",
        "sasl_username has no effect with sasl_mechanism OAUTHBEARER",
    ),
    "tokens without a mechanism": (
        "kafka: {security_protocol: SASL_SSL, sasl_oauth: {token_file: /token}}",
        {},
        "kafka",
        "sasl_mechanism is required",
    ),
    "no source of tokens": (
        "kafka: {sasl_oauth: {}}",
        {},
        "kafka.sasl_oauth",
        "set one of token_file, token_command, token_endpoint",
    ),
    "two sources of tokens": (
        "kafka: {sasl_oauth: {token_file: /token, token_command: [token]}}",
        {},
        "kafka.sasl_oauth",
        "token_file and token_command exclude each other: set one of",
    ),
    "a token endpoint without a client": (
        "kafka: {sasl_oauth: {token_endpoint: 'https://a/token', client_secret: hidden}}",
        {},
        "kafka.sasl_oauth",
        "client_id is required with token_endpoint",
    ),
    "a client without a token endpoint": (
        "kafka: {sasl_oauth: {token_file: /token, scope: a}}",
        {},
        "kafka.sasl_oauth",
        "scope has no effect without token_endpoint",
    ),
    "a secret in the clear": (
        "kafka: {sasl_oauth: {token_endpoint: 'http://a/token', client_id: a, "
        "client_secret: hidden}}",
        {},
        "kafka.sasl_oauth.token_endpoint",
        "must be https",
    ),
    "a secret in the address of a token endpoint": (
        "kafka: {sasl_oauth: {token_endpoint: 'https://me:hidden@a/token', client_id: a, "
        "client_secret: hidden}}",
        {},
        "kafka.sasl_oauth.token_endpoint",
        "may hold only scheme, host, port, path and query",
    ),
    "a command that is no list": (
        "kafka: {sasl_oauth: {token_command: get-token}}",
        {},
        "kafka.sasl_oauth.token_command",
        "must be a list",
    ),
    "an authority of the token endpoint that can't be read": (
        "kafka: {security_protocol: SASL_SSL, sasl_mechanism: OAUTHBEARER, sasl_oauth: {"
        "token_endpoint: 'https://a/token', client_id: a, client_secret: hidden, "
        "ssl_ca_file: /no/such}}",
        {},
        "kafka.sasl_oauth.ssl_ca_file",
        "/no/such can't be read",
    ),
    "SASL without a user": (
        "kafka: {security_protocol: SASL_SSL}",
        {},
        "kafka",
        "sasl_username is required",
    ),
    "a password that can't be masked": (
        "kafka: {sasl_password: abc}",
        {},
        "kafka.sasl_password",
        "the password has fewer than 4 characters: it can't be masked",
    ),
}


@pytest.mark.parametrize(("text", "environment", "path", "message"), CASES.values(), ids=CASES)
def test_a_fault_names_its_path_and_what_is_wrong(
    tmp_path: Path, text: str, environment: dict[str, str], path: str, message: str
) -> None:
    assert_fault(tmp_path, text, environment, (path, message))
