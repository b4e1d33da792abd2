"""The configuration: which source wins, and every fault with its path and its source."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tests.searches import examples
from tests.unit.settings.loading import KEY, faults, loaded
from worker.core.post_api.resource import RESOURCES
from worker.errors import ConfigurationError
from worker.settings.kafka import Kafka
from worker.settings.load import MASK, load
from worker.settings.record_shape import constant_texts
from worker.settings.routing import RouteSettings
from worker.settings.schema import Settings

EXAMPLE = Path(__file__).parents[3] / "config" / "appmetrica-worker.yaml"


class TestPrecedence:
    FILE = "kafka: {group_id: from-file}"
    NAME = "AMW_KAFKA__GROUP_ID"

    def test_a_default_counts_where_nothing_is_given(self, tmp_path: Path) -> None:
        assert loaded(tmp_path).settings.kafka.group_id == "appmetrica-worker"

    def test_the_file_is_stronger_than_a_default(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, self.FILE).settings.kafka.group_id == "from-file"

    def test_a_secret_file_is_stronger_than_the_file(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, self.FILE, secrets={self.NAME: "from-secret\n"})
        assert result.settings.kafka.group_id == "from-secret"

    def test_the_environment_is_stronger_than_a_secret_file(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path, self.FILE, {self.NAME: "from-environment"}, secrets={self.NAME: "from-secret"}
        )
        assert result.settings.kafka.group_id == "from-environment"

    def test_a_flag_is_stronger_than_everything(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path,
            self.FILE,
            {self.NAME: "from-environment"},
            flags={"kafka.group_id": "from-flag"},
        )
        assert result.settings.kafka.group_id == "from-flag"

    def test_sections_of_several_sources_merge(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, self.FILE, {"AMW_KAFKA__SESSION_TIMEOUT_SECONDS": "60"})
        assert (result.settings.kafka.group_id, result.settings.kafka.session_timeout_seconds) == (
            "from-file",
            60,
        )

    def test_every_value_knows_where_it_came_from(self, tmp_path: Path) -> None:
        result = loaded(
            tmp_path,
            "kafka:\n  group_id: g\n",
            {"AMW_ADMIN__PORT": "1234"},
            flags={"log.level": "debug"},
        )
        sources = {one.path: one.source for one in result.shown()}
        assert sources["kafka.group_id"] == f"{tmp_path / 'config.yaml'}:2"
        assert sources["admin.port"] == "AMW_ADMIN__PORT"
        assert sources["log.level"] == "--set log.level"
        assert sources["limits.span_records_max"] == "default"
        assert sources["appmetrica.applications.1111.post_api_key"] == KEY

    def test_a_default_beside_a_given_value_is_a_default(self, tmp_path: Path) -> None:
        text = "kafka:\n  group_id: g\nroutes:\n  - topic: films\n"
        sources = {one.path: one.source for one in loaded(tmp_path, text).shown()}
        assert (
            sources["kafka.session_timeout_seconds"]
            == sources["routes.0.unknown_fields"]
            == "default"
        )
        assert sources["routes.0.topic"] == f"{tmp_path / 'config.yaml'}:4"

    def test_a_list_that_was_replaced_leaves_no_source_behind(self, tmp_path: Path) -> None:
        text = "routes:\n  - topic: films\n    unknown_fields: ignore\n"
        result = loaded(tmp_path, text, {"AMW_ROUTES": '[{"topic": "games"}]'})
        sources = {one.path: one.source for one in result.shown()}
        assert (sources["routes.0.topic"], sources["routes.0.unknown_fields"]) == (
            "AMW_ROUTES",
            "default",
        )

    def test_a_value_that_came_by_a_merge_key_knows_its_line(self, tmp_path: Path) -> None:
        text = "kafka: &k\n  group_id: g\nlog:\n  <<: {level: debug}\n"
        sources = {one.path: one.source for one in loaded(tmp_path, text).shown()}
        assert sources["log.level"] == f"{tmp_path / 'config.yaml'}:4"


class TestForms:
    @pytest.mark.parametrize(
        ("text", "servers"),
        [
            ("kafka: {bootstrap_servers: 'a:1, b:2'}", ("a:1", "b:2")),
            ("kafka: {bootstrap_servers: [a:1, b:2]}", ("a:1", "b:2")),
        ],
        ids=["text", "list"],
    )
    def test_brokers_are_a_list_or_separated_by_commas(
        self, tmp_path: Path, text: str, servers: tuple[str, ...]
    ) -> None:
        assert loaded(tmp_path, text).settings.kafka.bootstrap_servers == servers

    def test_brokers_in_the_environment_are_separated_by_commas(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, environment={"AMW_KAFKA__BOOTSTRAP_SERVERS": "a:1,b:2"})
        assert result.settings.kafka.bootstrap_servers == ("a:1", "b:2")

    def test_an_application_may_be_a_number_in_the_file(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, "appmetrica: {applications: {2222: {post_api_key: a-key}}}")
        assert set(result.settings.appmetrica.applications) == {1111, 2222}

    def test_lists_in_the_environment_are_json(self, tmp_path: Path) -> None:
        result = loaded(tmp_path, environment={"AMW_ROUTES": '[{"topic": "films"}]'})
        assert [route.topic for route in result.settings.routes] == ["films"]

    def test_a_key_may_be_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from-a-file\n")
        text = (
            f"appmetrica: {{applications: {{'2222': {{post_api_key_file: {tmp_path / 'key'}}}}}}}"
        )
        result = loaded(tmp_path, text)
        assert result.settings.appmetrica.applications[2222].key == "from-a-file"
        assert set(result.secrets()) == {"secret-key", "from-a-file"}

    def test_a_route_takes_what_it_leaves_open_from_the_top(self, tmp_path: Path) -> None:
        text = """
            routes:
              - {topic: films, batching: {rows_max: 7}, dedup: {key_field: id},
                 dead_letter: {topic: films.dlq}}
              - {topic: games, parking: {enabled: false}}
            batching: {linger_seconds: 3}
            dedup: {key_header: event-id}
        """
        films, games, home = loaded(tmp_path, text).settings.resolved_routes()
        assert (
            films.batching.rows_max,
            films.batching.linger_seconds,
            films.dead_letter.topic,
        ) == (7, 3, "films.dlq")
        assert (films.dedup.key_field, films.dedup.key_header) == ("id", None)
        assert (games.batching.rows_max, games.dedup.key_header) == (5000, "event-id")
        assert games.dead_letter.topic == "offline-events.dlq"
        assert (films.parking_topic, games.parking_topic) == ("films.parked", None)
        assert (home.topic, home.parked_from, home.parking_topic) == ("films.parked", "films", None)
        assert (home.batching, home.dedup, home.dead_letter) == (
            films.batching,
            films.dedup,
            films.dead_letter,
        )

    @pytest.mark.parametrize(
        ("route", "ordered", "parks"),
        [
            ("resource: profiles", {"profiles"}, False),
            ("resource: profiles, delivery: {ordered: false}", set(), True),
            ("resource: profiles, parking: {enabled: true}", {"profiles"}, True),
            ("resource: events", set(), True),
            ("resource: events, delivery: {ordered: true}", {"events"}, False),
            ("form: envelope", {"profiles"}, True),
            ("form: envelope, delivery: {ordered: true}", set(RESOURCES), False),
        ],
    )
    def test_profiles_are_ordered_and_what_is_ordered_does_not_park_unless_the_route_says_so(
        self, tmp_path: Path, route: str, ordered: set[str], parks: bool
    ) -> None:
        text = f"routes: [{{topic: users, {route}}}]"
        first, *parking = loaded(tmp_path, text).settings.resolved_routes()
        assert first.ordered_resources == ordered
        assert bool(parking) == parks
        assert all(home.ordered_resources == ordered for home in parking)

    def test_a_route_says_what_its_records_look_like_and_its_parking_topic_takes_the_same(
        self, tmp_path: Path
    ) -> None:
        text = """
            routes:
              - topic: shop
                resource: ecommerce
                form: cloudevents
                constants: {application_id: 1111, cart_item_quantity: "1.50",
                            payload: '{"from":"tv"}', product_promo_codes: "[a]"}
                fields: {order_id: $.order.id, profile_id: $.user}
                batching: {columns: exact}
        """
        shop, home = loaded(tmp_path, text).settings.resolved_routes()
        assert (shop.resource, shop.form, shop.batching.columns) == (
            "ecommerce",
            "cloudevents",
            "exact",
        )
        assert constant_texts(shop.constants) == {
            "application_id": "1111",
            "cart_item_quantity": "1.50",
            "payload": '{"from":"tv"}',
            "product_promo_codes": "[a]",
        }
        assert (home.resource, home.form, home.constants, home.fields) == (
            shop.resource,
            shop.form,
            shop.constants,
            shop.fields,
        )


CASES: dict[str, tuple[str, dict[str, str], str, str]] = {
    "unknown key, nearest name suggested": (
        "kafka: {grup_id: x}",
        {},
        "kafka.grup_id",
        "did you mean group_id?",
    ),
    "unknown section": ("kafak: {}", {}, "kafak", "did you mean kafka?"),
    "unknown variable": (
        "",
        {"AMW_KAFAK__GROUP_ID": "x"},
        "kafak.group_id",
        "no setting has this name",
    ),
    "unknown variable in a known section": (
        "",
        {"AMW_KAFKA__GRUP_ID": "x"},
        "kafka.grup_id",
        "did you mean group_id?",
    ),
    "variable that is no JSON": ("", {"AMW_ROUTES": "films"}, "routes", "must be JSON"),
    "wrong type": ("admin: {port: many}", {}, "admin.port", "valid integer"),
    "below the bound": (
        "batching: {rows_max: 0}",
        {},
        "batching.rows_max",
        "greater than or equal to 1",
    ),
    "above the API's bound": ("batching: {rows_max: 100001}", {}, "batching.rows_max", "100000"),
    "not one of": ("log: {format: xml}", {}, "log.format", "'json' or 'console'"),
    "key twice": ("log: {level: info}\nlog: {level: debug}", {}, "log", "is repeated"),
    "not YAML": ("kafka: [", {}, "file", "is not YAML"),
    "a value that isn't of its tag": (
        "kafka: {group_id: !!int x}",
        {},
        "file",
        "not a value of its type",
    ),
    "a list that holds itself": ("kafka: &a [*a]", {}, "file", "contains itself"),
    "key file that is no text": (
        "appmetrica: {applications: {'3': {post_api_key_file: [a]}}}",
        {},
        "appmetrica.applications.3.post_api_key_file",
        "path",
    ),
    "key file with NUL in its name": (
        'appmetrica: {applications: {"3": {post_api_key_file: "a\\0b"}}}',
        {},
        "appmetrica.applications.3.post_api_key_file",
        "not a file name",
    ),
    "application with a leading zero": (
        "appmetrica: {applications: {'01111': {post_api_key: k}}}",
        {},
        "appmetrica.applications",
        "without leading zeros",
    ),
    "true for a number": (
        "batching: {rows_max: true}",
        {},
        "batching.rows_max",
        "must not be true or false",
    ),
    "yes for a number": ("batching: {rows_max: yes}", {}, "batching.rows_max", "valid integer"),
    "a number with a leading zero": (
        "admin: {port: 09090}",
        {},
        "admin.port",
        "a leading zero is octal in YAML 1.1",
    ),
    "application with a leading zero, without quotes": (
        "appmetrica: {applications: {01111: {post_api_key: k}}}",
        {},
        "appmetrica.applications.1111",
        "a leading zero is octal in YAML 1.1",
    ),
    "application in two notations": (
        "appmetrica: {applications: {0x457: {post_api_key: k}, 1111: {post_api_key: l}}}",
        {},
        "appmetrica.applications.1111",
        "is repeated",
    ),
    "key twice in JSON": (
        "",
        {
            "AMW_APPMETRICA__APPLICATIONS": (
                '{"1111": {"post_api_key": "a"}, "1111": {"post_api_key": "b"}}'
            )
        },
        "appmetrica.applications",
        "without repeated keys",
    ),
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
    "a year of waiting": (
        "batching: {linger_seconds: 31536000}",
        {},
        "batching.linger_seconds",
        "86400",
    ),
    "not a mapping": ("- a", {}, "file", "must hold a mapping"),
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
        "tuple",
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
    "two names for the key": (
        "dedup: {key_header: a, key_field: b}",
        {},
        "dedup",
        "exclude each other",
    ),
    "key that is no path": (
        "dedup: {key_field: $.}",
        {},
        "dedup.key_field",
        "$. for offline-events must be a path",
    ),
    "key through a name that is empty": (
        "routes: [{topic: a, dedup: {key_field: $.a..b}}]",
        {},
        "routes.0.dedup.key_field",
        "$.a..b for a must be a path",
    ),
    "key through a scalar column": (
        "routes: [{topic: a, dedup: {key_field: $.event_name.id}}]",
        {},
        "routes.0.dedup.key_field",
        "$.event_name.id for a can't be read beside event_name",
    ),
    "key through a scalar column of a resource in an envelope": (
        "routes: [{topic: a, form: envelope, dedup: {key_field: $.order_id.id}}]",
        {},
        "routes.0.dedup.key_field",
        "can't be read beside order_id",
    ),
    "key that is an object": (
        "dedup: {key_field: event_json}",
        {},
        "dedup.key_field",
        "is no key: event_json holds",
    ),
    "one of the key's fields is no path": (
        "dedup: {key_fields: [id, $.]}",
        {},
        "dedup.key_fields.1",
        "must be a path",
    ),
    "one of the key's fields leads through another": (
        "dedup: {key_fields: [$.order, $.order.id]}",
        {},
        "dedup.key_fields.1",
        "can't be read beside order",
    ),
    "a field of the key named twice": (
        "dedup: {key_fields: [id, id]}",
        {},
        "dedup.key_fields.1",
        "is named twice",
    ),
    "field and fields of the key": (
        "dedup: {key_field: a, key_fields: [b, c]}",
        {},
        "dedup",
        "key_field and key_fields exclude each other",
    ),
    "content as the key of profiles": (
        "routes: [{topic: a, resource: profiles, dedup: {content: true}}]",
        {},
        "routes.0.dedup.content",
        "profiles of a have no time of their own",
    ),
    "selection by a wildcard": (
        "routes: [{topic: a, select: {'$.*': [b]}}]",
        {},
        "routes.0.select.$.*",
        "a wildcard leads to many values",
    ),
    "selection of nothing": (
        "routes: [{topic: a, select: {$.type: []}}]",
        {},
        "routes.0.select.$.type",
        "at least 1",
    ),
    "selection of a number with a fraction": (
        "routes: [{topic: a, select: {$.type: [1.5]}}]",
        {},
        "routes.0.select.$.type.0",
        "",
    ),
    "a time of profiles": (
        "routes: [{topic: a, resource: profiles, time: {unit: auto}}]",
        {},
        "routes.0.time",
        "profiles have no time: remove it",
    ),
    "a unit of time that doesn't exist": (
        "routes: [{topic: a, time: {unit: minutes}}]",
        {},
        "routes.0.time.unit",
        "seconds",
    ),
    "a time at no path": (
        "routes: [{topic: a, time: {field: '$.events[*].at'}}]",
        {},
        "routes.0.time.field",
        "a wildcard leads to many values",
    ),
    "two places of the time": (
        "routes: [{topic: a, fields: {event_timestamp: $.at}, time: {field: $.ts}}]",
        {},
        "routes.0.time.field",
        "is set in fields.event_timestamp too",
    ),
    "a time at the path of another column": (
        "routes: [{topic: a, fields: {event_name: $.x}, time: {field: $.x.at}}]",
        {},
        "routes.0.time.field",
        "$.x.at and x can't both be read",
    ),
    "names of an envelope without an envelope": (
        "routes: [{topic: a, envelope: {data_field: payload}}]",
        {},
        "routes.0.envelope",
        "has an effect only with form: envelope",
    ),
    "a type of a resource that doesn't exist": (
        "routes: [{topic: a, form: envelope, envelope: {types: {bought: purchases}}}]",
        {},
        "routes.0.envelope.types.bought",
        "revenue",
    ),
    "one name for both fields of an envelope": (
        "routes: [{topic: a, form: envelope, envelope: {type_field: data}}]",
        {},
        "routes.0.envelope",
        "type_field and data_field must differ",
    ),
    "topic with two routes": (
        "routes: [{topic: a}, {topic: a}]",
        {},
        "routes.1.topic",
        "topic a has two routes: use",
    ),
    "dead letters into a read topic": (
        "routes: [{topic: a}]\ndead_letter: {topic: a}",
        {},
        "dead_letter.topic",
        "is also read by a route",
    ),
    "one parking topic for two": (
        "routes: [{topic: a}, {topic: b}]\nparking: {topic: p}",
        {},
        "routes.1.parking.topic",
        "topic p is the parking topic of a and b, and has two routes",
    ),
    "batch above the span": (
        "limits: {span_records_max: 100}",
        {},
        "batching.rows_max",
        "at most limits.span_records_max (100)",
    ),
    "a route's batch above the span": (
        "routes: [{topic: a, batching: {rows_max: 30000}}]",
        {},
        "routes.0.batching.rows_max",
        "30000 for a must be at most limits.span_records_max (20000)",
    ),
    "a parked topic that is read": (
        "routes: [{topic: b, parking: {enabled: false}}, {topic: a}, {topic: a.parked, parking: "
        "{enabled: false}}]",
        {},
        "routes.1.parking.topic",
        "topic a.parked is the parking topic of a, and has two routes",
    ),
    "a route's window above that of all": (
        "routes: [{topic: a, dedup: {window_rows_max: 2000}}]\ndedup: {window_rows_max: 1000}",
        {},
        "routes.0.dedup.window_rows_max",
        "2000 for a must be at most dedup.window_rows_max of all topics (1000)",
    ),
    "body above half the memory": (
        "limits: {memory_bytes_max: 16777216}\nbatching: {body_bytes_max: 8388609}",
        {},
        "batching.body_bytes_max",
        "at most half of limits.memory_bytes_max",
    ),
    "a constant that no column takes": (
        "routes: [{topic: a, constants: {aplication_id: 1}}]",
        {},
        "routes.0.constants.aplication_id",
        "events has no such column; did you mean application_id?",
    ),
    "a constant of a wrong type": (
        "routes: [{topic: a, constants: {mcc: home}}]",
        {},
        "routes.0.constants.mcc",
        "found 'home'",
    ),
    "a constant out of range": (
        "routes: [{topic: a, constants: {mcc: 18446744073709551616}}]",
        {},
        "routes.0.constants.mcc",
        "an integer from -9223372036854775808",
    ),
    "a constant decimal that is a float": (
        "routes: [{topic: a, resource: revenue, constants: {price: 0.1}}]",
        {},
        "routes.0.constants.price",
        "string",
    ),
    "a constant time": (
        "routes: [{topic: a, constants: {event_timestamp: 5}}]",
        {},
        "routes.0.constants.event_timestamp",
        "can't be the same for every event",
    ),
    "an empty constant": (
        "routes: [{topic: a, constants: {os_name: ''}}]",
        {},
        "routes.0.constants.os_name",
        "is empty",
    ),
    "two constant identities": (
        "routes: [{topic: a, constants: {profile_id: u, appmetrica_device_id: 1}}]",
        {},
        "routes.0.constants",
        "exclude each other",
    ),
    "a field that no column takes": (
        "routes: [{topic: a, form: envelope, fields: {evnt_name: $.name}}]",
        {},
        "routes.0.fields.evnt_name",
        "no resource has such a column; did you mean event_name?",
    ),
    "a field and a constant": (
        "routes: [{topic: a, constants: {mcc: 1}, fields: {mcc: $.c}}]",
        {},
        "routes.0.fields.mcc",
        "is set in constants too",
    ),
    "a path that is none": (
        "routes: [{topic: a, fields: {mcc: 'a[0]'}}]",
        {},
        "routes.0.fields.mcc",
        "must be a path, as in $.name",
    ),
    "a path with a wildcard": (
        "routes: [{topic: a, fields: {event_json: '$.events[*].params'}}]",
        {},
        "routes.0.fields.event_json",
        "a wildcard leads to many values",
    ),
    "a path with a filter": (
        "routes: [{topic: a, fields: {event_json: '$.events[?(@.a)]'}}]",
        {},
        "routes.0.fields.event_json",
        "a filter or an expression is not supported",
    ),
    "a path to an object and to an array": (
        "routes: [{topic: a, fields: {mcc: '$.x[0]', event_name: $.x.name}}]",
        {},
        "routes.0.fields.event_name",
        "$.x.name and x[0] can't both be read",
    ),
    "paths that clash": (
        "routes: [{topic: a, fields: {os_name: $.data, event_name: $.data.name}}]",
        {},
        "routes.0.fields.event_name",
        "$.data.name and data can't both be read",
    ),
    "a path to another column": (
        "routes: [{topic: a, fields: {os_name: $.os_version}}]",
        {},
        "routes.0.fields.os_name",
        "can't both be read",
    ),
    "a resource that doesn't exist": (
        "routes: [{topic: a, resource: event}]",
        {},
        "routes.0.resource",
        "'events'",
    ),
    "a form that doesn't exist": (
        "routes: [{topic: a, form: avro}]",
        {},
        "routes.0.form",
        "'cloudevents'",
    ),
    "a form of request that doesn't exist": (
        "delivery: {request: query}",
        {},
        "delivery.request",
        "'body' or 'params'",
    ),
    "columns that don't exist": (
        "batching: {columns: some}",
        {},
        "batching.columns",
        "'all' or 'exact'",
    ),
    "null for a section": ("kafka:", {}, "kafka", "must be a mapping of settings; remove it"),
    "null for an application": (
        "appmetrica: {applications: {'3': }}",
        {},
        "appmetrica.applications.3",
        "required: one of post_api_key and",
    ),
    "no route": (
        "routes: []",
        {},
        "routes",
        "required: at least one route, as in routes: [{topic: offline-events}]",
    ),
    "a variable for the file, misnamed": (
        "",
        {"AMW_CONFIG_FILE": "/a"},
        "config_file",
        "did you mean AMW_CONFIG?",
    ),
    "an empty variable": (
        "",
        {"AMW_STATE_DIR": ""},
        "state_dir",
        "is empty: set a value, or remove it",
    ),
    "a blank variable": ("", {"AMW_STATE_DIR": " "}, "state_dir", "is empty"),
    "an empty variable that names the file": ("", {"AMW_CONFIG": ""}, "AMW_CONFIG", "is empty"),
    "no key": (
        "appmetrica: {applications: {'3': {}}}",
        {},
        "appmetrica.applications.3",
        "one of post_api_key and",
    ),
    "a key that can't be masked": (
        "appmetrica: {applications: {'3': {post_api_key: '110'}}}",
        {},
        "appmetrica.applications.3.post_api_key",
        "the key has fewer than 4 characters: it can't be masked",
    ),
    "a password that can't be masked": (
        "kafka: {sasl_password: abc}",
        {},
        "kafka.sasl_password",
        "the password has fewer than 4 characters: it can't be masked",
    ),
    "no such key file": (
        "appmetrica: {applications: {'3': {post_api_key_file: /no/such}}}",
        {},
        "appmetrica.applications.3.post_api_key_file",
        "/no/such can't be read: No such file",
    ),
    "application that is no number": (
        "appmetrica: {applications: {films: {post_api_key: k}}}",
        {},
        "appmetrica",
        "integer",
    ),
    "address with a query": (
        "appmetrica: {base_url: 'http://a?b=c'}",
        {},
        "appmetrica.base_url",
        "may hold only scheme",
    ),
}


@pytest.mark.parametrize(("text", "environment", "path", "message"), CASES.values(), ids=CASES)
def test_a_fault_names_its_path_and_what_is_wrong(
    tmp_path: Path, text: str, environment: dict[str, str], path: str, message: str
) -> None:
    found = faults(tmp_path, text, environment)
    assert [fault for fault in found if fault.path.startswith(path) and message in fault.message], (
        found
    )


def test_all_faults_are_reported_at_once_each_with_its_source(tmp_path: Path) -> None:
    text = "kafka:\n  grup_id: x\nadmin:\n  port: many\n"
    found = faults(tmp_path, text, {"AMW_LOG__LEVEL": "loud", "AMW_NOPE": "1"})
    file = tmp_path / "config.yaml"
    assert {(fault.path, fault.source) for fault in found} == {
        ("kafka.grup_id", f"{file}:2"),
        ("admin.port", f"{file}:4"),
        ("log.level", "AMW_LOG__LEVEL"),
        ("nope", "AMW_NOPE"),
    }


def test_all_that_is_wrong_with_a_route_s_shape_is_reported_each_with_its_own_line(
    tmp_path: Path,
) -> None:
    text = (
        "routes:\n  - topic: a\n    constants:\n      mcc: 18446744073709551616\n      mnc: x\n"
        "    fields:\n      nope: $.a\n      os_name: b\n"
    )
    file = tmp_path / "config.yaml"
    assert [(fault.path, fault.source) for fault in faults(tmp_path, text)] == [
        ("routes.0.fields.nope", f"{file}:7"),
        ("routes.0.constants.mcc", f"{file}:4"),
        ("routes.0.constants.mnc", f"{file}:5"),
        ("routes.0.fields.os_name", f"{file}:8"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "path", "message"),
    [
        ("admin.port", "09090", "admin.port", "a leading zero"),
        ("admin", "{port: 1, port: 2}", "admin.port", "is repeated"),
        (
            "routes",
            "[{topic: a, constants: {mcc: 007}}]",
            "routes.0.constants.mcc",
            "a leading zero",
        ),
    ],
)
def test_what_a_value_on_the_line_hides_is_a_fault(
    tmp_path: Path, name: str, value: str, path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, flags={name: value})
    assert [(one.path, one.source) for one in caught.value.faults if message in one.message] == [
        (path, f"--set {name}")
    ]


def test_text_is_the_text_that_is_written(tmp_path: Path) -> None:
    kafka = loaded(
        tmp_path, "kafka: {group_id: 2026-11-28, bootstrap_servers: [10:30]}"
    ).settings.kafka
    assert (kafka.group_id, kafka.bootstrap_servers) == ("2026-11-28", ("10:30",))
    routes = loaded(tmp_path, "routes: [{topic: no, constants: {os_name: NO}}]").settings.routes
    assert (routes[0].topic, routes[0].constants) == ("no", {"os_name": "NO"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "appmetrica:",
        "appmetrica: {}",
        "appmetrica: {applications: {}}",
        "appmetrica: {applications: }",
    ],
)
def test_where_no_application_is_given_the_fault_says_what_is_required(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, None, {})
    assert [one.message.partition(":")[0] for one in caught.value.faults] == ["required"]


def test_what_is_missing_is_reported_beside_what_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("appmetrica: {base_url: 5}")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {"AMW_APPMETRICA__READ_TIMEOUT_SECONDS": ""}, None, {})
    assert {one.path for one in caught.value.faults} == {
        "appmetrica.base_url",
        "appmetrica.read_timeout_seconds",
        "appmetrica.applications",
    }


def test_the_commands_own_and_the_tests_variables_are_no_settings(tmp_path: Path) -> None:
    loaded(
        tmp_path,
        environment={"AMW_CONFIG": "x", "AMW_SECRETS_DIR": "y", "AMW_TEST_BOOTSTRAP_SERVERS": "z"},
    )


@pytest.mark.parametrize(
    "text",
    [
        "appmetrica: {applications: {'1111': {post_api_key: 'hidden value'}}}",
        "kafka: {security_protocol: nonsense, sasl_password: hidden}",
        "appmetrica: {applications: {'1111': {post_api_key: [hidden]}}}",
        "appmetrica: {applications: {hidden: {}}}",
        "kafka: {sasl_password: *hidden}",
        "kafka: {sasl_password: !hidden a}",
        "kafka:\n  sasl_password: 'hidden\n  group_id: x'y",
        "kafka: {sasl_password: %hidden}",
        "kafka: {sasl_password: 2026-13-45hidden}\n  x",
    ],
    ids=[
        "key with a space",
        "fault beside a password",
        "key of a wrong type",
        "key in the place of an application",
        "password that looks like an alias",
        "password that looks like a tag",
        "open quotes",
        "character that starts nothing",
        "bad indentation",
    ],
)
def test_no_message_holds_a_secret(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, None, {})
    assert "hidden" not in str(caught.value)


NAMES = sorted(
    {
        *Settings.model_fields,
        *Kafka.model_fields,
        *RouteSettings.model_fields,
        "applications",
        "1111",
        "post_api_key",
    }
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@examples(300, suppress=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3),
    names=st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), max_size=3),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
)
def test_whatever_is_given_ends_in_settings_or_in_faults(
    tmp_path: Path, document: dict[str, object], names: list[list[str]], text: str
) -> None:
    environment = {"AMW_" + "__".join(name).upper(): text for name in names}
    for written in (yaml.safe_dump(document, allow_unicode=True), text):
        try:
            loaded(tmp_path, written, environment, flags={".".join(name): text for name in names})
        except ConfigurationError as error:
            assert error.faults


def test_what_is_shown_masks_every_secret(tmp_path: Path) -> None:
    text = "kafka: {security_protocol: SASL_SSL, sasl_mechanism: PLAIN, sasl_username: me}"
    result = loaded(tmp_path, text, {"AMW_KAFKA__SASL_PASSWORD": "hidden"})
    shown = {one.path: one.value for one in result.shown()}
    assert (
        shown["appmetrica.applications.1111.post_api_key"] == shown["kafka.sasl_password"] == MASK
    )
    assert "secret-key" not in repr(result.settings)
    assert "hidden" not in repr(result.settings)


def test_the_hash_names_the_configuration_and_not_its_secrets(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    assert loaded(tmp_path, environment={KEY: "another-key"}).config_hash() == first.config_hash()
    assert loaded(tmp_path, "log: {level: debug}").config_hash() != first.config_hash()


def test_the_routes_that_the_readme_shows_are_in_order(tmp_path: Path) -> None:
    readme = (EXAMPLE.parents[1] / "README.md").read_text(encoding="utf-8")
    snippet = readme[readme.index("    routes:\n") :].partition(
        "\n\n`source` and `id` of a CloudEvent"
    )[0]
    routes = loaded(tmp_path, textwrap.dedent(snippet)).settings.routes
    assert [(route.resource, route.form) for route in routes] == [
        ("events", "json"),
        ("revenue", "json"),
        ("events", "envelope"),
        ("profiles", "cloudevents"),
    ]


class TestTheExample:
    def test_it_holds_every_setting_with_its_default(self, tmp_path: Path) -> None:
        key = tmp_path / "key"
        key.write_text("a-key")
        text = EXAMPLE.read_text().replace("/etc/appmetrica-worker/keys/1111", str(key))
        file = tmp_path / "example.yaml"
        file.write_text(text)
        example = load(file, {}, None, {}).settings
        default = Settings.model_validate(
            {
                "appmetrica": {
                    "applications": {
                        "1111": {"post_api_key": "a-key", "post_api_key_file": str(key)}
                    }
                }
            }
        )
        assert example == default

    def test_it_leaves_no_setting_out(self) -> None:
        def leaves(value: object, path: str) -> set[str]:
            if isinstance(value, dict) and value:
                return {
                    leaf
                    for name, inner in value.items()
                    for leaf in leaves(inner, f"{path}.{name}")
                }
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return leaves(value[0], path)
            return {path}

        def schema_leaves(
            schema: dict[str, object], definitions: dict[str, dict[str, object]], path: str
        ) -> set[str]:
            options = [schema, *schema.get("anyOf", [])]  # type: ignore[misc]
            for option in options:
                if "$ref" in option:
                    schema = definitions[option["$ref"].rpartition("/")[2]]
            if isinstance(schema.get("items"), dict) and "$ref" in schema["items"]:  # type: ignore[operator]
                schema = definitions[schema["items"]["$ref"].rpartition("/")[2]]  # type: ignore[index]
            if "$ref" in (schema.get("additionalProperties") or {}):  # type: ignore[operator]
                schema = definitions[schema["additionalProperties"]["$ref"].rpartition("/")[2]]  # type: ignore[index]
                path = f"{path}.1111"
            properties: dict[str, dict[str, object]] = schema.get("properties", {})  # type: ignore[assignment]
            if not properties:
                return {path}
            return {
                leaf
                for name, inner in properties.items()
                for leaf in schema_leaves(inner, definitions, f"{path}.{name}")
            }

        document = Settings.model_json_schema()
        known = schema_leaves(document, document["$defs"], "")
        given = leaves(yaml.safe_load(EXAMPLE.read_text()), "")
        # Null in the example, one leaf each: the route's own dead-letter topic and its time, and
        # where tokens come from.
        null = re.compile(r"(\.routes\.time|\.dead_letter|\.sasl_oauth)\..*")
        assert {null.sub(r"\1", leaf) for leaf in known} == {
            null.sub(r"\1", leaf) for leaf in given
        }
