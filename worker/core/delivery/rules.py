"""The bounds of the delivery, as the settings give them."""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.delivery.limiter import LimiterRules


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """`request_seconds`: how long a request may ordinarily take; the rest is as the settings name
    it.
    """

    limiter: LimiterRules
    retry_after_seconds_max: float
    hold_probe_seconds: float
    systemic_ratio: float
    systemic_rows_min: int
    bisect_requests_per_minute_max: int
    event_age_seconds_max: int
    request_seconds: float
