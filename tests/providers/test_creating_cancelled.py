"""A create that is cancelled: nothing left, or a word of what may be left."""

from __future__ import annotations

import asyncio
import logging

import anyio
import pytest
from aiohttp import web

from hopx_async.providers import creating
from hopx_async.providers.creating import created
from tests.providers.test_creating import CREATE, WISH, refusing
from tests.support.service import served


async def test_a_cancelled_create_leaves_nothing() -> None:
    """Cancelled while it is answered, what it makes is deleted before it ends."""
    async with served() as service, service.client() as client:
        arrived, gate = anyio.Event(), anyio.Event()

        async def slowly(_: web.Request) -> None:
            arrived.set()
            await gate.wait()

        service.odd[CREATE] = [slowly]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        assert service.sandboxes == {}
        gate.set()
        await asyncio.wait([task])

        assert task.cancelled()
        assert service.sandboxes == {}
        assert [call.split("/")[0] for call in service.calls()] == ["POST ", "DELETE "]


async def test_a_cancelled_create_that_cannot_be_undone_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If it is not answered in time, cancelling ends all the same, and the log says what to do."""
    monkeypatch.setattr(creating, "UNDO_SECONDS", 0.05)
    async with served() as service, service.client() as client:
        arrived = anyio.Event()

        async def hang(_: web.Request) -> None:
            arrived.set()
            await anyio.sleep_forever()

        service.odd[CREATE] = [hang]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        with caplog.at_level(logging.WARNING, "hopx_async"):
            task.cancel()
            await asyncio.wait([task])

        assert task.cancelled()
        assert "list_sandboxes()" in caplog.text


async def test_a_cancelled_create_that_was_refused_is_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A no that comes after the cancelling leaves nothing to tell."""
    async with served() as service, service.client() as client:
        arrived, gate = anyio.Event(), anyio.Event()

        async def refuse(_: web.Request) -> web.StreamResponse:
            arrived.set()
            await gate.wait()
            return service.no(402, "PAYMENT_REQUIRED", "no")

        service.odd[CREATE] = [refuse]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await asyncio.wait([task])

        assert task.cancelled()
        assert caplog.text == ""


async def test_a_cancelled_create_whose_sandbox_cannot_be_deleted_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A delete that is refused leaves a sandbox behind: the log names it."""
    async with served() as service, service.client() as client:
        arrived, gate = anyio.Event(), anyio.Event()

        async def slowly(_: web.Request) -> None:
            arrived.set()
            await gate.wait()

        service.odd[CREATE] = [slowly]
        service.odd["DELETE *"] = [refusing(service, 500, "INTERNAL_ERROR")]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await asyncio.wait([task])

        assert task.cancelled()
        [left] = service.sandboxes
        assert f"sandbox {left} is not known to be deleted" in caplog.text


async def test_a_create_that_is_cancelled_twice_says_what_it_may_leave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whoever cannot wait for the undoing is told that it did not happen."""
    async with served() as service, service.client() as client:
        arrived = anyio.Event()

        async def hang(_: web.Request) -> None:
            arrived.set()
            await anyio.sleep_forever()

        service.odd[CREATE] = [hang]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        for _ in range(2):
            task.cancel()
            await anyio.wait_all_tasks_blocked()

        assert task.cancelled()
        assert "list_sandboxes()" in caplog.text
