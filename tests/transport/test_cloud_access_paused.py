"""The way to a sandbox that is paused: nothing is sent, and few look whether it goes on."""

from __future__ import annotations

import asyncio
import itertools

import anyio
import pytest

from hopx_async.errors import SandboxNotFound
from hopx_async.testing.virtual_time import run
from hopx_async.transport import cloud_access
from hopx_async.transport.cloud_access import CloudAccess, TokenBox, ask_agent
from hopx_async.transport.control_plane import ControlPlane
from tests.support.service import KEY, served
from tests.transport.test_cloud_access import way


async def test_nothing_is_sent_to_a_sandbox_that_is_paused() -> None:
    """Requests wait until it goes on; then they have a new token."""
    async with way() as there:
        await there.ask()
        there.access.hold()
        tasks = [asyncio.create_task(there.ask()) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert len(there.service.calls("agent")) == 1
        there.access.go_on()
        await asyncio.gather(*tasks[1:])

        assert there.refreshes() == 2
        assert there.looks == 0


async def test_a_resume_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else resumes it: that is looked for now and then, once for all who wait."""
    monkeypatch.setattr(cloud_access, "LOOK_SECONDS", 0.02)
    async with way() as there:
        there.access.hold()
        there.runs = False
        tasks = [asyncio.create_task(there.ask()) for _ in range(10)]
        while there.looks < 3:
            await anyio.sleep(0.01)
        assert there.looks < 10
        there.runs = True
        await asyncio.gather(*tasks)


def test_many_who_wait_cost_one_look_at_a_time() -> None:
    """Whenever each of them began to wait: the control plane takes few requests."""

    async def main() -> None:
        looks: list[float] = []

        async def look() -> bool:
            looks.append(anyio.current_time())
            return False

        plane = ControlPlane("http://127.0.0.1:1", KEY)
        access = CloudAccess(plane, TokenBox(plane, "a"), "http://127.0.0.1:1", look)
        access.hold()
        tasks = []
        for _ in range(14):
            tasks.append(asyncio.create_task(access.admit()))
            await anyio.sleep(1.0)
        await anyio.sleep(cloud_access.LOOK_SECONDS * 4)
        access.go_on()
        await asyncio.gather(*tasks)
        assert 3 <= len(looks) <= 5
        gaps = [later - sooner for sooner, later in itertools.pairwise(looks)]
        assert all(cloud_access.LOOK_SECONDS <= gap <= 30.0 for gap in gaps)

    run(main())


async def test_an_end_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused sandbox that is deleted fails who waits for it."""
    monkeypatch.setattr(cloud_access, "LOOK_SECONDS", 0.02)
    async with served() as service:
        plane = ControlPlane(service.url, KEY)

        async def look() -> bool:
            raise SandboxNotFound("it is gone")

        access = CloudAccess(plane, TokenBox(plane, service.add()), service.agent_url, look)
        access.hold()
        with pytest.raises(SandboxNotFound):
            await ask_agent(access, "GET", "/v1/statistics")
        await access.aclose()
        await plane.aclose()
