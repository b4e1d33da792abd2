"""What a broker's refusal means: of a login, of a token, and of a certificate on either side."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import (
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from worker.edges.kafka.broker_address import Cause, Diagnosis
from worker.edges.kafka.tokens import TokenProvider
from worker.edges.telemetry.redaction import printable

# Of the text with which a broker refuses a token.
REFUSAL_CHARACTERS_MAX = 200


def of_login(error: Exception, arguments: Mapping[str, Any]) -> Diagnosis | None:
    """Return the fault of the login that this error means; None where it means another fault.

    Args:
        error: of the connection.
        arguments: how the worker connects, as aiokafka takes them.
    """
    mechanism = arguments.get("sasl_mechanism")
    match error:
        case SaslAuthenticationFailed() if mechanism == "OAUTHBEARER":
            return _of_token(error, arguments["sasl_oauth_token_provider"])
        case SaslAuthenticationFailed():
            user = arguments.get("sasl_plain_username")
            what = f"it refuses the login of user {user!r} by {mechanism}"
            return Diagnosis(
                Cause.PASSWORD,
                f"{what}: correct kafka.sasl_username, sasl_password or sasl_mechanism",
            )
        case IllegalSaslStateError():
            protocol = "SSL" if arguments["security_protocol"] == "SASL_SSL" else "PLAINTEXT"
            return Diagnosis(
                Cause.NO_LOGIN_WANTED,
                f"this port requires no login: set kafka.security_protocol to {protocol}",
            )
        case UnsupportedSaslMechanismError():
            return Diagnosis(
                Cause.MECHANISM,
                f"it does not offer the SASL mechanism {mechanism}: correct kafka.sasl_mechanism",
            )
        case _:
            return None


def _of_token(error: SaslAuthenticationFailed, provider: TokenProvider) -> Diagnosis:
    # Another token may do: its source may have changed meanwhile.
    provider.note_refusal()
    seconds = provider.expired_seconds_ago()
    advice = (
        "its issuer, audience and scope must be those that the brokers expect"
        if seconds is None
        else f"it expired {seconds:.0f} s ago: what writes it must renew it in time"
    )
    text = printable(str(error))[:REFUSAL_CHARACTERS_MAX]
    return Diagnosis(Cause.TOKEN, f"it refuses the token of {provider.source} ({text}): {advice}")


def of_server_certificate(error: ssl.SSLCertVerificationError) -> Diagnosis:
    """Return why the certificate of the server is refused, and what to correct."""
    why = error.verify_message
    if "mismatch" in why:
        return Diagnosis(
            Cause.OTHER_NAME,
            f"its certificate is for another name ({why}): use the name of the "
            "certificate in kafka.bootstrap_servers",
        )
    advice = "renew it" if "expired" in why else "correct kafka.ssl_ca_file"
    return Diagnosis(Cause.UNTRUSTED, f"its certificate isn't trusted ({why}): {advice}")


def about_certificate(error: Exception) -> str | None:
    """Return TLS's reason if it is about certificates: CERTIFICATE_REQUIRED, UNKNOWN_CA, …."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (
        reason
        if reason is not None and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)
        else None
    )
