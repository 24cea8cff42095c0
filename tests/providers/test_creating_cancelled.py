"""A create that is cancelled: nothing left, or a word of what may be left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, NoReturn

import anyio
import pytest
from aiohttp import web

from hopx_async.errors import TlsError
from hopx_async.providers import creating
from hopx_async.providers.creating import created
from tests.providers.test_creating import CREATE, WISH, refusing
from tests.support.service import Service, served

Refusal = Callable[[Service], web.StreamResponse]


class Sent(NamedTuple):
    """A create whose request has arrived.

    Attributes:
        service: Where.
        task: Who waits for it.
        gate: Once it is set, the request is answered.
    """

    service: Service
    task: asyncio.Task[Any]
    gate: anyio.Event

    async def cancel(self) -> None:
        """Cancel it, and let everything happen that can."""
        self.task.cancel()
        await anyio.wait_all_tasks_blocked()

    async def end(self) -> None:
        """Let it be answered, and see that it ends cancelled all the same."""
        self.gate.set()
        await asyncio.wait([self.task])
        assert self.task.cancelled()


@asynccontextmanager
async def sent(refusal: Refusal | None = None) -> AsyncGenerator[Sent]:
    """Have a create whose request has arrived; the answer will be a *refusal*, None for a yes."""
    async with served() as service, service.client() as client:
        arrived, gate = anyio.Event(), anyio.Event()

        async def slowly(_: web.Request) -> web.StreamResponse | None:
            arrived.set()
            await gate.wait()
            return refusal and refusal(service)

        service.odd[CREATE] = [slowly]
        task = asyncio.create_task(created(client, WISH))
        await arrived.wait()
        yield Sent(service, task, gate)


def refuse(service: Service) -> web.StreamResponse:
    """Say no to a create."""
    return service.no(402, "PAYMENT_REQUIRED", "no")


@pytest.mark.parametrize(
    ("refusal", "calls"), [(None, ["POST ", "DELETE "]), (refuse, ["POST "])], ids=["yes", "no"]
)
async def test_a_cancelled_create_leaves_nothing(
    refusal: Refusal | None, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled while it is answered, what it makes is deleted before it ends; nothing is told."""
    async with sent(refusal) as create:
        await create.cancel()
        assert create.service.sandboxes == {}
        await create.end()

        assert create.service.sandboxes == {}
        assert [call.split("/")[0] for call in create.service.calls()] == calls
        assert caplog.text == ""


async def test_a_cancelled_create_whose_sandbox_cannot_be_deleted_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A delete that is refused leaves a sandbox behind: the log names it."""
    async with sent() as create:
        create.service.odd["DELETE *"] = [refusing(create.service, 500, "INTERNAL_ERROR")]
        await create.cancel()
        await create.end()

        [left] = create.service.sandboxes
        assert f"sandbox {left} is not known to be deleted" in caplog.text


@pytest.mark.parametrize("how", ["not answered in time", "cancelled twice"])
async def test_a_cancelled_create_that_cannot_be_undone_says_so(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends all the same, without waiting for an answer, and the log says what to do."""
    if how == "not answered in time":
        monkeypatch.setattr(creating, "UNDO_SECONDS", 0.05)
    async with sent() as create:
        with caplog.at_level(logging.WARNING, "hopx_async"):
            create.task.cancel()
            if how == "cancelled twice":
                await anyio.wait_all_tasks_blocked()
                create.task.cancel()
                await anyio.wait_all_tasks_blocked()
            else:
                await asyncio.wait([create.task])

        assert create.task.cancelled()
        assert not create.gate.is_set()
        assert "list_sandboxes()" in caplog.text


async def test_a_cancelled_create_that_never_was_sent_is_quiet(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the service is not trusted nothing was sent, so that nothing can be left."""
    begun = anyio.Event()

    async def distrust(*_: object, **__: object) -> NoReturn:
        begun.set()
        await anyio.wait_all_tasks_blocked()
        raise TlsError("no trust")

    async with served() as service, service.client() as client:
        monkeypatch.setattr(client._plane, "ask", distrust)
        task = asyncio.create_task(created(client, WISH))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert caplog.text == ""
