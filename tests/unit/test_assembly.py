"""What settings become: what the parts of all topics share."""

from __future__ import annotations

from tests.builders import make_row
from worker.core.intake.rules import InvalidOptional, RecordTime, TimeDefault, TimeUnit
from worker.core.model.row import Row
from worker.core.pipeline import Pipeline
from worker.daemon.assembly import assemble
from worker.daemon.pipeline_parts import intake_rules
from worker.settings.schema import Settings

TOPICS = ("a", "b", "c")


def pipeline(**dedup: object) -> Pipeline:
    settings = Settings.model_validate(
        {
            "routes": [{"topic": topic} for topic in TOPICS],
            "appmetrica": {"applications": {"1111": {"post_api_key": "secret-key"}}},
            "dedup": dedup,
        }
    )
    return assemble(settings, "instance", lambda _: None).pipeline


def rows(begin: int, end: int) -> list[Row]:
    return [make_row(number, key=number.to_bytes(16, "big")) for number in range(begin, end)]


def test_all_topics_and_their_parking_topics_remember_as_many_keys_together_as_is_allowed() -> None:
    windows = {
        topic: route.window for topic, route in pipeline(window_rows_max=800)._routes.items()
    }
    assert windows.keys() == {*TOPICS, *(f"{topic}.parked" for topic in TOPICS)}
    for number, window in enumerate(windows.values()):
        some = rows(number * 1000, number * 1000 + 700)
        window.admit(some, 0.0)
        window.deliver([row.key for row in some], 0.0)
        assert sum(one.rows for one in windows.values()) <= 800
    for number, window in enumerate(windows.values()):
        newest = rows(number * 1000 + 699, number * 1000 + 700)
        assert window.admit(newest, 0.0).duplicates == newest
    assert sum(window.evicted + window.rows for window in windows.values()) == 6 * 700


def test_what_a_route_says_of_invalid_values_reaches_its_intake() -> None:
    settings = Settings.model_validate(
        {
            "appmetrica": {"applications": {"1": {"post_api_key": "key-of-application"}}},
            "routes": [{"topic": "a"}, {"topic": "b", "invalid_optional": "drop"}],
        }
    )
    rules = [intake_rules(settings, route) for route in settings.resolved_routes()[:2]]
    assert [one.invalid_optional for one in rules] == [
        InvalidOptional.REJECT,
        InvalidOptional.DROP,
    ]


def test_what_a_route_says_of_its_time_reaches_its_intake() -> None:
    settings = Settings.model_validate(
        {
            "appmetrica": {"applications": {"1": {"post_api_key": "key-of-application"}}},
            "routes": [
                {"topic": "a"},
                {
                    "topic": "b",
                    "time": {"field": "$.at[0]['a.b']", "unit": "auto", "default": "record"},
                },
            ],
        }
    )
    first, second, _, parking = (
        intake_rules(settings, route) for route in settings.resolved_routes()
    )
    assert (first.time, first.fields) == (None, {})
    for rules in (second, parking):
        assert rules.time == RecordTime(TimeUnit.AUTO, TimeDefault.RECORD)
        assert rules.fields == {"event_timestamp": ("at", 0, "a.b")}
