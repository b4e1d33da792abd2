"""What each reason means, and who has to do what about it, in a sentence or two. `docs/reasons.md` says more."""

from __future__ import annotations

from worker.tools.letter import FOREIGN, PARKED

EXPLANATIONS = {
    "empty_value": "The record has no value. The producer must send one JSON object.",
    "not_json": "The value is not JSON in UTF-8. The producer must mend its encoding.",
    "not_an_object": "The value is JSON, but not one object. The producer must send one event per record.",
    "missing": "A required parameter is absent, null or empty. The producer must send it.",
    "wrong_type": "A parameter has a value of another type than the API takes. The producer must send the right type.",
    "out_of_range": "A parameter has a value that the API doesn't take. The producer must send one that it does.",
    "unknown_field": "A field is no parameter of the resource. Correct its name, or set unknown_fields: ignore for the route.",
    "both_identities": "profile_id and appmetrica_device_id are both there. The producer must send exactly one of them.",
    "milliseconds": "The time is in milliseconds. The producer must send Unix time in seconds.",
    "too_old": "The event is older than the API takes (14 days). It can't be delivered any more; a replay can't change that.",
    "in_future": "The event lies in the future. See the producer's clock and its unit of time.",
    "too_large": "The event's CSV line is larger than a request's body may be: batching.body_bytes_max.",
    "unknown_application": "No key is configured for the application. Configure one and replay.",
    "unknown_route": "No resource is configured for records of this kind. Configure it and replay.",
    "refused": "The API refused the row although it is well-formed: see the answer in the message.",
    "fails_alone": "The API failed whenever this row was sent alone, and took others: see the answer. Replay when it is well.",
    "too_large_for_api": "The API found a request with this row alone too large.",
    PARKED: "The record's application was on hold. It comes home by itself when the hold ends.",
    FOREIGN: "The record was not written by this worker.",
}


def explanation(reason: str) -> str:
    """What this reason means. A newer worker may have written one that isn't known here."""
    return EXPLANATIONS.get(reason, "This reason is not known to this version.")
