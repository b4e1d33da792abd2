"""The emulator's planned faults over real sockets."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.sockets.sandbox.posting import KEY, MINIMAL, MINIMAL_HEADER, post
from worker.sandbox.emulator.faults import FaultKind, PlanError, PlannedFault, parse
from worker.sandbox.emulator.server import Emulator


class TestFaults:
    BODY = f"{MINIMAL_HEADER}\n{MINIMAL}\n"

    async def test_a_status_with_retry_after_for_a_number_of_requests(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, status=429, retry_after="7", count=1))
        async with client.post(
            "/logs/v1/import/events.csv", params={"post_api_key": KEY}, data=self.BODY
        ) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert (await post(client, self.BODY))[0] == 200

    async def test_a_fault_may_concern_one_application(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, application_id=2222))
        assert (await post(client, self.BODY))[0] == 200
        assert (await post(client, self.BODY, "other"))[0] == 503

    async def test_a_fault_may_pass_with_time(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, seconds=0.0))
        assert (await post(client, self.BODY))[0] == 200

    @pytest.mark.parametrize(
        ("kind", "rows"),
        [
            (FaultKind.RESET_BEFORE, 0),
            (FaultKind.RESET_DURING, 0),
            (FaultKind.RESET_AFTER, 0),
            (FaultKind.ACCEPT_THEN_DROP, 1),
        ],
    )
    async def test_a_reset_gives_no_answer(
        self, emulator: Emulator, client: aiohttp.ClientSession, kind: FaultKind, rows: int
    ) -> None:
        emulator.plan(PlannedFault(kind))
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(client, self.BODY)
        assert emulator.ledger.rows_total == rows

    async def test_a_body_breaks_off_after_the_200(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.BROKEN_BODY))
        async with client.post(
            "/logs/v1/import/events.csv", params={"post_api_key": KEY}, data=self.BODY
        ) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert emulator.ledger.rows_total == 1

    async def test_a_redirect_names_its_location(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        url = "/logs/v1/import/events.csv"
        for status in (302, 307):
            chosen = None if status == 302 else status
            emulator.plan(PlannedFault(FaultKind.REDIRECT, status=chosen, location="/there"))
            async with client.post(
                url, params={"post_api_key": KEY}, data=self.BODY, allow_redirects=False
            ) as response:
                assert (response.status, response.headers["Location"]) == (status, "/there")

    async def test_a_slow_answer_drips(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.SLOW_DRIP, delay_seconds=0.01))
        assert await post(client, self.BODY) == (200, "accepted\n")

    async def test_a_fault_may_concern_what_rows_hold(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.STATUS, status=500, text="poison"))
        poisoned = MINIMAL_HEADER + ",device_model\n" + MINIMAL + ",poison\n"
        assert (await post(client, poisoned))[0] == 500
        assert (await post(client, poisoned.replace("poison", "harmless")))[0] == 200

    async def test_slow_rows_are_kept_although_nobody_waits(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.SLOW_ROWS, delay_seconds=0.2))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n")
        await emulator.ledger.wait_for(lambda ledger: ledger.rows_total == 1, 10.0)

    async def test_a_request_that_hangs_gets_no_answer_and_no_row_is_kept(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.HANG))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(client, f"{MINIMAL_HEADER}\n{MINIMAL}\n")
        assert emulator.ledger.rows_total == 0

    async def test_a_delay_comes_before_the_answer(
        self, emulator: Emulator, client: aiohttp.ClientSession
    ) -> None:
        emulator.plan(PlannedFault(FaultKind.DELAY, delay_seconds=0.2))
        started = time.monotonic()
        assert (await post(client, self.BODY))[0] == 200
        assert time.monotonic() - started >= 0.2

    async def test_a_plan_can_be_put_read_and_deleted(self, client: aiohttp.ClientSession) -> None:
        plan = [{"kind": "status", "status": 500, "seconds": 60}]
        async with client.put("/_emulator/faults", json=plan) as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 500
        async with client.get("/_emulator/faults") as response:
            assert [(one["kind"], one["status"]) for one in await response.json()] == [
                ("status", 500)
            ]
        async with client.delete("/_emulator/faults") as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 200

    async def test_keys_and_refused_values_can_be_changed(
        self, client: aiohttp.ClientSession
    ) -> None:
        async with client.put("/_emulator/keys", json={"1111": "new"}) as response:
            assert response.status == 204
        assert (await post(client, self.BODY))[0] == 403
        assert (await post(client, self.BODY, "new"))[0] == 200
        async with client.put("/_emulator/refused", json={"event_name": ["e"]}) as response:
            assert response.status == 204
        assert (await post(client, self.BODY, "new"))[0] == 400

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ("refused", {"event_name": "forbidden"}, "refused values are an object"),
            ("refused", {"evnt_name": ["forbidden"]}, "no resource has the column 'evnt_name'"),
            ("refused", ["forbidden"], "refused values are an object"),
            ("keys", {"films": "k"}, "keys are an object"),
            ("keys", {"²": "k"}, "keys are an object"),
            ("keys", {"9" * 20: "k"}, "keys are an object"),
            ("keys", {"1111": None}, "keys are an object"),
        ],
        ids=[
            "text for a list",
            "unknown column",
            "no object",
            "application that is no number",
            "application that is a small two",
            "application of 20 digits",
            "no key",
        ],
    )
    async def test_what_cannot_be_set_is_reported(
        self, client: aiohttp.ClientSession, path: str, value: object, message: str
    ) -> None:
        async with client.put(f"/_emulator/{path}", json=value) as response:
            assert (response.status, message in await response.text()) == (400, True)

    @pytest.mark.parametrize(
        ("plan", "message"),
        [
            ({}, "a plan is a list"),
            ([1], "fault 0 is not an object"),
            ([{"kind": "explode"}], "kind is one of"),
            ([{"kind": "status", "statu": 1}], "unknown field 'statu'"),
            ([{"kind": "status", "status": "503"}], "status can't be '503'"),
            ([{"kind": "status", "status": 199}], "between 200 and 599"),
            ([{"kind": "redirect", "location": "/a\r\nSet-Cookie: b"}], "location is a header"),
            ([{"kind": "status", "retry_after": "1\n2"}], "retry_after is a header"),
            ([{"kind": "delay", "delay_seconds": -1}], "delay_seconds can't be -1"),
            ([{"kind": "status", "count": True}], "count can't be True"),
        ],
    )
    def test_a_plan_that_cannot_be_understood_is_reported(self, plan: object, message: str) -> None:
        with pytest.raises(PlanError, match=message):
            parse(plan)

    async def test_a_bad_plan_over_http_is_a_400(self, client: aiohttp.ClientSession) -> None:
        async with client.put("/_emulator/faults", data="nonsense") as response:
            assert (response.status, "not JSON" in await response.text()) == (400, True)
