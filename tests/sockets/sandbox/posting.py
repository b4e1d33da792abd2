"""Posts bodies to the emulator; the smallest body that it accepts."""

from __future__ import annotations

import io
import time

import aiohttp

KEY = "k" * 44
NOW = int(time.time())
MINIMAL_HEADER = "application_id,profile_id,event_name,event_timestamp"
MINIMAL = f"1111,u,e,{NOW}"


async def post(
    client: aiohttp.ClientSession,
    body: str | bytes,
    key: str | None = KEY,
    path: str = "events.csv",
) -> tuple[int, str]:
    parameters = {"post_api_key": key} if key is not None else {}
    content = io.BytesIO(body.encode() if isinstance(body, str) else body)
    async with client.post(
        f"/logs/v1/import/{path}", params=parameters, data=content, allow_redirects=False
    ) as response:
        return response.status, await response.text()
