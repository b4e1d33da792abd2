"""What each reason means, and who has to do what about it, in a sentence or two.

`docs/reasons.md` says more.
"""

from __future__ import annotations

from worker.tools.dead_letters.record import FOREIGN, PARKED

EXPLANATIONS = {
    "empty_value": "The record has no value. The producer must send one JSON object.",
    "not_json": "The value is not JSON in UTF-8. Fix the encoding in the producer.",
    "not_an_object": (
        "The value is JSON, but not an object. The producer must send one event per record."
    ),
    "missing": "A required parameter is absent, null or empty. The producer must send it.",
    "wrong_type": (
        "A parameter has a value of another type than the API accepts. The producer "
        "must send the right type."
    ),
    "out_of_range": (
        "A parameter has a value that the API doesn't accept. The producer must send "
        "an accepted value."
    ),
    "unknown_field": (
        "The resource has no parameter of this name. Fix the name, or set "
        "unknown_fields: ignore for the route."
    ),
    "both_identities": (
        "The record has both profile_id and appmetrica_device_id. The producer "
        "must send exactly one of them."
    ),
    "milliseconds": "The time is in milliseconds. The producer must send Unix time in seconds.",
    "too_old": (
        "The event is older than the API accepts (14 days). It can't be delivered any "
        "more, even by a replay."
    ),
    "in_future": "The event's time is in the future. Check the producer's clock and time unit.",
    "too_large": (
        "The event's CSV line is larger than a request body may be (batching.body_bytes_max)."
    ),
    "unknown_application": (
        "No key is configured for the application. Configure its key and replay."
    ),
    "unknown_route": "No resource is configured for records of this kind. Configure it and replay.",
    "refused": "The API refused the row although it is well-formed. See the answer in the message.",
    "fails_alone": "A request with only this row failed again and again while other rows of its "
    "application were accepted. "
    "Check the row and what blocks it, such as a firewall. Then replay it; it may be delivered "
    "twice.",
    "too_large_for_api": "The API refused a request with only this row as too large.",
    PARKED: "The record's application was on hold. It is redelivered by itself when the hold ends.",
    FOREIGN: "The record was not written by this worker.",
}


def explanation(reason: str) -> str:
    """What this reason means. A newer worker may have written one that isn't known here."""
    return EXPLANATIONS.get(reason, "This reason is not known to this version.")
