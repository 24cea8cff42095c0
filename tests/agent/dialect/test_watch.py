"""Tests of hopx_async.agent.dialect.watch, through an agent that serves."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent.dialect import watch as module
from tests.agent.dialect.served import said
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_changes_are_told(tmp_path: Path) -> None:
    """Once it says that it watches, files that appear and go are told by their public names."""
    async with serving(tmp_path / "s") as server, server.http.ws_connect("/files/watch") as socket:
        workspace = tmp_path / "s" / "workspace"
        await socket.send_json({"action": "watch", "path": "/workspace"})
        status = await socket.receive_json(timeout=30)
        assert (status["type"], status["status"]) == ("status", "Watching /workspace")

        (workspace / "a.txt").write_text("x")
        change = await socket.receive_json(timeout=30)
        while change["path"] != "/workspace/a.txt":
            change = await socket.receive_json(timeout=30)
        assert change["type"] == "change"
        assert change["event"] in {"created", "modified"}

        (workspace / "a.txt").unlink()
        while change["event"] != "deleted":
            change = await socket.receive_json(timeout=30)


async def test_a_watch_that_ends_says_why(tmp_path: Path) -> None:
    """A name that cannot be told ends the watch, which says so and ends with ``complete``."""
    async with serving(tmp_path / "s") as server, server.http.ws_connect("/files/watch") as socket:
        await socket.send_json({"action": "watch", "path": "/workspace"})
        await socket.receive_json(timeout=30)

        (tmp_path / "s" / "workspace" / os.fsdecode(b"e\xff")).touch()
        error, end = await said(socket)
        assert (error["type"], error["code"]) == ("error", "INTERNAL_ERROR")
        assert r"e\xFF" in error["error"]
        assert end["success"] is False


async def test_no_more_watches_than_there_are_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is refused, even of those that are asked for at once."""
    monkeypatch.setattr(module, "MAX_WATCHES", 1)
    go, make = threading.Event(), module._watcher

    def slowly(place: Path) -> Any:
        go.wait()
        return make(place)

    monkeypatch.setattr(module, "_watcher", slowly)
    async with serving(tmp_path / "s") as server:
        first = await server.http.ws_connect("/files/watch")
        second = await server.http.ws_connect("/files/watch")
        for socket in (first, second):
            await socket.send_json({"action": "watch", "path": "/workspace"})
        answers = [asyncio.create_task(one.receive_json(timeout=30)) for one in (first, second)]
        done, _ = await asyncio.wait(answers, return_when="FIRST_COMPLETED", timeout=5)
        go.set()
        for socket, answer in zip((first, second), answers, strict=True):
            await answer
            await socket.close()

        assert sorted(one.result()["type"] for one in answers) == ["error", "status"]
        assert [one.result()["type"] for one in done] == ["error"]


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"action": "watch", "path": "/etc"}, "PATH_NOT_ALLOWED"),
        ({"action": "watch", "path": "/workspace/no"}, "FILE_NOT_FOUND"),
        ({"action": "watch"}, "MISSING_PARAMETER"),
        ({"action": "dance"}, "INVALID_REQUEST"),
    ],
)
async def test_bad_watches_are_refused(tmp_path: Path, message: dict[str, Any], word: str) -> None:
    """What cannot be watched is told by its code, and the socket ends with ``complete``."""
    async with serving(tmp_path / "s") as server, server.http.ws_connect("/files/watch") as socket:
        await socket.send_json(message)
        error, end = await said(socket)

        assert (error["type"], error["code"]) == ("error", word)
        assert end["success"] is False
