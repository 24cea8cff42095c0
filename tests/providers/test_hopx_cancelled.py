"""The doors to the service and the words of their sandboxes, cancelled wherever they wait."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from aiohttp import web

import hopx_async as hopx
from tests.support.service import KEY, Service, served


async def stage(service: Service, call: str) -> tuple[anyio.Event, anyio.Event]:
    """Make the next such call wait; return when it has arrived, and what lets it go on."""
    arrived, gate = anyio.Event(), anyio.Event()

    async def slowly(_: web.Request) -> None:
        arrived.set()
        await gate.wait()

    service.odd.setdefault(call, []).insert(0, slowly)
    return arrived, gate


@pytest.mark.parametrize("call", ["POST /v1/sandboxes", "GET /info", "GET /v1/hello"])
async def test_a_create_can_be_cancelled_anywhere(call: str) -> None:
    """Wherever it is cancelled, no sandbox is left, and an own client is closed."""
    async with served() as service:
        arrived, gate = await stage(service, call)
        door = hopx.Sandbox.create("base", api_key=KEY, base_url=service.url)
        task = asyncio.create_task(door)
        await arrived.wait()
        task.cancel()
        gate.set()
        await asyncio.wait([task])

        assert task.cancelled()
        assert service.sandboxes == {}


@pytest.mark.parametrize("call", ["GET /v1/sandboxes/*", "GET /info", "GET /v1/hello"])
async def test_a_connect_can_be_cancelled_anywhere(call: str) -> None:
    """The sandbox is left as it is."""
    async with served() as service:
        sandbox_id = service.add()
        arrived, gate = await stage(service, call)
        task = asyncio.create_task(
            hopx.Sandbox.connect(sandbox_id, api_key=KEY, base_url=service.url)
        )
        await arrived.wait()
        task.cancel()
        gate.set()
        await asyncio.wait([task])

        assert task.cancelled()
        assert list(service.sandboxes) == [sandbox_id]


@pytest.mark.parametrize(
    ("word", "arguments", "call"),
    [
        ("get_info", (), "GET /v1/sandboxes/*"),
        ("pause", (), "POST /v1/sandboxes/*"),
        ("resume", (), "POST /v1/sandboxes/*"),
        ("set_timeout", (60,), "PUT /v1/sandboxes/*"),
    ],
)
async def test_a_word_can_be_cancelled(word: str, arguments: tuple[Any, ...], call: str) -> None:
    """Cancelled in the middle, the sandbox is as usable as before."""
    async with served() as service, service.client() as client:
        async with hopx.Sandbox.create("base", client=client) as sandbox:
            arrived, gate = await stage(service, call)
            task = asyncio.create_task(getattr(sandbox, word)(*arguments))
            await arrived.wait()
            task.cancel()
            await asyncio.wait([task])
            gate.set()
            assert task.cancelled()
            await sandbox.resume()
            await sandbox.statistics()


@pytest.mark.parametrize("word", ["kill", "aclose"])
async def test_an_end_is_not_cancelled(word: str) -> None:
    """kill and aclose go on to the end although their task is cancelled."""
    async with served() as service, service.client() as client:
        sandbox = await hopx.Sandbox.create("base", client=client)
        arrived, gate = await stage(service, "DELETE /v1/sandboxes/*")
        task = asyncio.create_task(getattr(sandbox, word)())
        await arrived.wait()
        task.cancel()
        gate.set()
        await asyncio.wait([task])
        assert service.sandboxes == {}
        await sandbox.aclose()


async def test_a_create_whose_undoing_is_cancelled_says_what_may_be_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It could not be opened, and nobody waited for its end: the log names it."""
    async with served() as service, service.client() as client:
        arrived, _ = await stage(service, "GET /info")
        deleting, gate = await stage(service, "DELETE /v1/sandboxes/*")
        task = asyncio.create_task(hopx.Sandbox.create("base", client=client))
        await arrived.wait()
        task.cancel()
        await deleting.wait()
        task.cancel()
        await asyncio.wait([task])
        gate.set()

        assert task.cancelled()
        [sandbox_id] = service.sandboxes
        assert f"{sandbox_id} was created, could not be opened" in caplog.text
        assert "may be left" in caplog.text
