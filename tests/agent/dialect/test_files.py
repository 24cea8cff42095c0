"""Tests of hopx_async.agent.dialect.files, through an agent that runs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import threading
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, BinaryIO

import aiohttp
import pytest

from hopx_async.agent.dialect import disk
from hopx_async.agent.dialect import files as module
from hopx_async.agent.dialect.paths import Places
from tests.agent.dialect.served import served
from tests.agent.harness import serving
from tests.agent.keeper_double import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

BYTES = bytes(range(256))


def upload(path: str | None, *files: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    if path is not None:
        form.add_field("path", path)
    for data in files:
        form.add_field("file", data, filename="name.bin")
    return form


async def test_files_come_and_go(tmp_path: Path) -> None:
    """Written, listed, read, found, removed: by names with every awkward character."""
    name = "/workspace/a b/\u00e9&#+%.txt"
    async with served(tmp_path) as agent:
        body = {"path": name, "content": "h\u00e9\n", "mode": "0600"}
        written = await agent.ok("POST", "/files/write", json=body)
        query = {"params": {"path": name}}
        read = await agent.ok("GET", "/files/read", **query)
        listed = await agent.ok("GET", "/files/list", params={"path": "/workspace/a b"})
        exists = await agent.ok("GET", "/files/exists", **query)
        await agent.ok("DELETE", "/files/remove", **query)
        gone = await agent.ok("GET", "/files/exists", **query)

        assert (written["path"], written["size"], written["success"]) == (name, 4, True)
        assert read == {"content": "h\u00e9\n", "path": name, "size": 4}
        (entry,) = listed["files"]
        assert (entry["path"], entry["size"], entry["mode"]) == (name, 4, "0600")
        assert entry["is_dir"] is entry["is_directory"] is False
        assert entry["modified"] == entry["modified_time"]
        assert (exists["exists"], gone["exists"]) == (True, False)


async def test_bytes_stay_exact(tmp_path: Path) -> None:
    """What is written as base64 or uploaded is downloaded as it was."""
    async with served(tmp_path) as agent:
        body = {"path": "/workspace/b", "content": base64.b64encode(BYTES).decode()}
        await agent.ok("POST", "/files/write", json={**body, "encoding": "base64"})
        told = await agent.ok("POST", "/files/upload", data=upload("/workspace/u", BYTES))
        assert told["size"] == 256
        await agent.ok("POST", "/files/upload?path=/workspace/q", data=upload(None, b"aGk="))
        for name, data in (("b", BYTES), ("u", BYTES), ("q", b"aGk=")):
            path = {"path": f"/workspace/{name}"}
            async with agent.http.get("/files/download", params=path) as response:
                assert await response.read() == data
                assert response.content_type == "application/octet-stream"


async def test_directories(tmp_path: Path) -> None:
    """They are made with their parents, twice is no error, and removed with what is in them."""
    async with served(tmp_path) as agent:
        for _ in range(2):
            await agent.ok("POST", "/files/mkdir", json={"path": "/workspace/d/e"})
        top = await agent.ok("GET", "/files/list")
        await agent.ok("DELETE", "/files/remove?path=/workspace/d")

        assert [(one["path"], one["is_dir"]) for one in top["files"]] == [("/workspace/d", True)]
        assert not (agent.workspace / "d").exists()


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/workspace/../state/token", "../state/token", "/workspace/out/token", "/"],
)
async def test_nothing_leads_out(tmp_path: Path, path: str) -> None:
    """Absolute paths, ``..`` and links out of the workspace are refused, and nothing is done."""
    async with served(tmp_path) as agent:
        (agent.workspace / "out").symlink_to(tmp_path / "state")
        before = (tmp_path / "state" / "token").read_text()
        query: dict[str, Any] = {"params": {"path": path}}
        body: dict[str, Any] = {"json": {"path": path, "content": "x"}}
        asked: list[tuple[str, str, dict[str, Any]]] = [
            *(("GET", f"/files/{verb}", query) for verb in ("read", "download", "list", "exists")),
            ("DELETE", "/files/remove", query),
            ("POST", "/files/write", body),
            ("POST", "/files/mkdir", body),
            ("POST", "/files/upload", {"data": upload(path, b"x")}),
        ]
        for method, route, options in asked:
            refused = await agent.refused(method, route, **options)
            assert refused == (403, "PATH_NOT_ALLOWED"), route

        assert (tmp_path / "state" / "token").read_text() == before
        assert [one.name for one in agent.workspace.iterdir()] == ["out"]


@pytest.mark.parametrize("to", ["/etc/passwd", "link", "nowhere", "kept"])
async def test_a_link_is_removed_wherever_it_leads(tmp_path: Path, to: str) -> None:
    """What is removed is the link: one that leads out, to itself, nowhere or to a file."""
    async with served(tmp_path) as agent:
        (agent.workspace / "kept").touch()
        (agent.workspace / "link").symlink_to(to)

        await agent.ok("DELETE", "/files/remove?path=/workspace/link")
        assert [one.name for one in agent.workspace.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("method", "route", "options", "refused"),
    [
        ("GET", "read", {}, (400, "MISSING_PARAMETER")),
        ("GET", "read", {"params": {"path": "/workspace/no"}}, (404, "FILE_NOT_FOUND")),
        ("GET", "read", {"params": {"path": "/workspace"}}, (400, "INVALID_PATH")),
        ("GET", "read", {"params": {"path": "/workspace/\0"}}, (400, "INVALID_PATH")),
        ("GET", "read", {"params": {"path": "x" * 300}}, (400, "INVALID_PATH")),
        ("GET", "list", {"params": {"path": "/workspace/no"}}, (404, "DIRECTORY_NOT_FOUND")),
        ("GET", "list", {"params": {"path": "/workspace/f"}}, (400, "INVALID_PATH")),
        ("DELETE", "remove", {"params": {"path": "/workspace/no"}}, (404, "FILE_NOT_FOUND")),
        ("DELETE", "remove", {"params": {"path": "/workspace"}}, (403, "PATH_NOT_ALLOWED")),
        ("DELETE", "remove", {"params": {"path": "x" * 300}}, (400, "INVALID_PATH")),
        ("DELETE", "remove", {"params": {"path": "x/" * 3000}}, (400, "INVALID_PATH")),
        ("POST", "write", {"data": b"{"}, (400, "INVALID_JSON")),
        ("POST", "write", {"json": {"path": "/workspace/n"}}, (400, "MISSING_PARAMETER")),
        ("POST", "write", {"json": {"path": 7, "content": ""}}, (400, "MISSING_PARAMETER")),
        (
            "POST", "write",
            {"json": {"path": "/workspace/f", "content": "", "overwrite": False}},
            (409, "FILE_ALREADY_EXISTS"),
        ),
        (
            "POST", "write",
            {"json": {"path": "/workspace/f", "content": "*", "encoding": "base64"}},
            (400, "INVALID_REQUEST"),
        ),
        (
            "POST", "write",
            {"json": {"path": "/workspace/f", "content": "\u00e9", "encoding": "base64"}},
            (400, "INVALID_REQUEST"),
        ),
        (
            "POST", "write",
            {"json": {"path": "/workspace/f", "content": "", "mode": "9"}},
            (400, "INVALID_REQUEST"),
        ),
        ("POST", "mkdir", {"json": {"path": "/workspace/f"}}, (409, "FILE_ALREADY_EXISTS")),
        ("POST", "upload", {"data": upload("/workspace/u")}, (400, "MISSING_PARAMETER")),
        ("POST", "upload", {"data": upload("/workspace/no/u", b"x")}, (404, "FILE_NOT_FOUND")),
        ("POST", "upload", {"data": upload("/workspace/u", b"x", b"y")}, (400, "INVALID_REQUEST")),
        ("POST", "upload", {"data": b"x"}, (400, "INVALID_REQUEST")),
    ],
)  # fmt: skip
async def test_bad_requests_change_nothing(
    tmp_path: Path, method: str, route: str, options: dict[str, Any], refused: tuple[int, str]
) -> None:
    """What is missing, wrong or not there is told by its code; the workspace stays as it was."""
    async with served(tmp_path) as agent:
        (agent.workspace / "f").write_text("kept")

        assert await agent.refused(method, f"/files/{route}", **options) == refused
        assert [one.name for one in agent.workspace.iterdir()] == ["f"]
        assert (agent.workspace / "f").read_text() == "kept"


async def test_what_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads, writes and reads over their bounds are 413, and leave nothing behind."""
    monkeypatch.setattr(disk, "MAX_READ_BYTES", 1000)
    for name in ("MAX_WRITE_BYTES", "MAX_UPLOAD_BYTES"):
        monkeypatch.setattr(module, name, 1000)
    async with serving(tmp_path / "s") as server:
        workspace = tmp_path / "s" / "workspace"
        (workspace / "big").write_bytes(bytes(1001))
        body = {"path": "/workspace/w", "content": "x" * 1001}
        asked = [
            await server.ask("GET", "/files/read?path=big"),
            await server.ask("POST", "/files/write", json=body),
            await server.ask("POST", "/files/upload", data=upload("/workspace/u", bytes(1001))),
        ]

        assert [(status, told["code"]) for status, told in asked] == [(413, "INVALID_REQUEST")] * 3
        assert [one.name for one in workspace.iterdir()] == ["big"]


async def test_a_download_is_the_file_that_was_named(tmp_path: Path) -> None:
    """A squeezed file beside it is another file, whatever the client would take."""
    async with serving(tmp_path / "s") as server:
        workspace = tmp_path / "s" / "workspace"
        (workspace / "a.txt").write_bytes(b"plain")
        (workspace / "a.txt.gz").write_bytes(gzip.compress(b"other"))
        for name, data in (
            ("a.txt", b"plain"),
            ("a.txt.gz", (workspace / "a.txt.gz").read_bytes()),
        ):
            headers = {"Accept-Encoding": "gzip, br"}
            query = {"path": name}
            async with server.http.get("/files/download", params=query, headers=headers) as answer:
                assert "Content-Encoding" not in answer.headers
                assert await answer.read() == data
            async with server.http.head("/files/download", params=query) as answer:
                assert answer.content_length == len(data)


async def given_up(call: Coroutine[Any, Any, object]) -> None:
    """Cancel a call whose thread waits."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_download_given_up_while_it_opens_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a thread opens for a request that is cancelled meanwhile does not stay open."""
    (tmp_path / "a").write_bytes(b"x")
    go, opened = threading.Event(), []

    def slowly(place: Path) -> BinaryIO:
        go.wait()
        opened.append(place.open("rb"))
        return opened[0]

    monkeypatch.setattr(module, "_open", slowly)
    await given_up(module._opened(tmp_path / "a"))
    go.set()
    async with asyncio.timeout(PATIENCE):
        while not (opened and opened[0].closed):
            await asyncio.sleep(0.01)


async def test_an_upload_given_up_while_its_file_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread makes for an upload that is cancelled meanwhile is closed and removed."""
    go, made = threading.Event(), []

    def slowly(**options: Any) -> tuple[int, str]:
        go.wait()
        made.append(mkstemp(**options))
        return made[0]

    removed, remove = asyncio.Event(), module._remove_what_came

    def noted(making: asyncio.Future[tuple[int, str]]) -> None:
        remove(making)
        removed.set()

    monkeypatch.setattr(module, "mkstemp", slowly)
    monkeypatch.setattr(module, "_remove_what_came", noted)
    no_part: Any = None
    routes = module.FileRoutes(Places(str(tmp_path)))
    await given_up(routes._keep(no_part))
    go.set()
    async with asyncio.timeout(PATIENCE):
        await removed.wait()
    assert not any(tmp_path.iterdir())
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(made[0][0])


async def test_listings_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that is cut says where the next one begins."""
    monkeypatch.setattr(disk, "MAX_LISTED", 2)
    async with serving(tmp_path / "s") as server:
        for name in "abc":
            (tmp_path / "s" / "workspace" / name).touch()
        _, first = await server.ask("GET", "/files/list")
        _, second = await server.ask("GET", f"/files/list?after={first['next']}")

        assert [one["name"] for one in first["files"] + second["files"]] == ["a", "b", "c"]
        assert (first["count"], second["count"], second["next"]) == (2, 1, None)
