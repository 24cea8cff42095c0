"""Tests of hopx_async.agent.dialect.streams, through an agent that runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from hopx_async.agent.dialect.sockets import Socket
from tests.agent.dialect.served import said, served
from tests.agent.harness import serving

if TYPE_CHECKING:
    from pathlib import Path


def output(messages: list[dict[str, Any]], kind: str = "stdout") -> str:
    return "".join(one["data"] for one in messages if one["type"] == kind)


async def test_code_is_streamed(tmp_path: Path) -> None:
    """Output comes as it is printed, then the result, and ``complete`` last."""
    async with served(tmp_path) as agent, agent.http.ws_connect("/execute/stream") as socket:
        code = "import sys; print('a'); print('b', file=sys.stderr); sys.exit(3)"
        await socket.send_json({"type": "execute", "code": code, "language": "python"})
        messages = await said(socket)

        assert (output(messages), output(messages, "stderr")) == ("a\n", "b\n")
        result = messages[-2]
        assert (result["type"], result["exit_code"], result["success"]) == ("result", 3, False)
        assert messages[-1] == {"type": "complete", "success": False, "exit_code": 3}


async def test_commands_are_streamed_one_after_another(tmp_path: Path) -> None:
    """A command begins with its id; the same socket runs the next, after errors too."""
    async with served(tmp_path) as agent, agent.http.ws_connect("/commands/stream") as socket:
        found = []
        for message in (
            {"type": "run", "command": "echo a"},
            {"type": "run"},
            {"type": "dance", "command": "true"},
            {"type": ["run"], "command": "true"},
            {"type": "command", "command": "nonesuch-program"},
            {"type": "execute", "command": "echo b", "timeout": 5},
        ):
            await socket.send_json(message)
            found.append(await said(socket))
        await socket.send_str("no json")
        found.append(await said(socket))

        first, missing, unknown, odd, absent, last, broken = found
        assert first[0]["type"] == "start"
        assert first[0]["process_id"].startswith("cmd_")
        assert (output(first), output(last)) == ("a\n", "b\n")
        codes = [one[0]["code"] for one in (missing, unknown, odd, broken)]
        assert codes == ["MISSING_PARAMETER", *["INVALID_REQUEST"] * 2, "INVALID_JSON"]
        assert absent[-2]["exit_code"] == 127


async def test_characters_are_not_cut(tmp_path: Path) -> None:
    """A character whose bytes come in two writes arrives whole."""
    async with served(tmp_path) as agent, agent.http.ws_connect("/commands/stream") as socket:
        text = r"printf '\xc3'; sleep 0.1; printf '\xa9\n'; printf '\xff'"
        await socket.send_json({"type": "run", "command": text})

        assert output(await said(socket)) == "\u00e9\n\ufffd"


async def test_who_leaves_ends_its_command(tmp_path: Path) -> None:
    """A client that closes its socket ends what it runs, with everything that it started."""
    async with served(tmp_path) as agent:
        async with agent.http.ws_connect("/commands/stream") as socket:
            await socket.send_json({"type": "run", "command": "sleep 60 & sleep 60"})
            process_id = (await socket.receive_json())["process_id"]
            assert process_id in await agent.rows()

        while process_id in await agent.rows():
            pass
        told = await agent.ok("GET", f"/v1/commands/{process_id}")
        assert told["info"]["exit"]["reason"] == "killed"


async def test_whose_connection_breaks_ends_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is cut off while something is sent to it ends what it runs."""

    async def cut(_socket: Socket, kind: str, **_fields: object) -> None:
        raise ConnectionResetError(kind)

    monkeypatch.setattr(Socket, "send", cut)
    async with serving(tmp_path / "s") as server:
        async with server.http.ws_connect("/commands/stream") as socket:
            await socket.send_json({"type": "run", "command": "true"})
            started = await server.keeper.asked(1)
            killed = await server.keeper.asked(2)

        assert (killed["op"], killed["id"]) == ("kill", started["public"]["process_id"])


@pytest.mark.parametrize("text", ["seq 2000", "head -c 700000 /dev/zero"])
async def test_frames_are_small_and_compressed(tmp_path: Path, text: str) -> None:
    """No frame is over 64 KiB, even where each byte needs six in JSON; each is compressed."""
    async with served(tmp_path) as agent:
        url = str(agent.http._base_url).replace("http", "ws") + "/commands/stream"
        headers = agent.http.headers
        async with connect(url, additional_headers=headers, proxy=None, max_size=65536) as socket:
            assert [one.name for one in socket.protocol.extensions] == ["permessage-deflate"]
            plain: list[int] = []
            extension = socket.protocol.extensions[0]
            decode = extension.decode

            def look(frame: Any, *, max_size: int | None = None) -> Any:
                if frame.opcode in {1, 2} and not frame.rsv1:
                    plain.append(len(frame.data))
                return decode(frame, max_size=max_size)

            extension.decode = look  # type: ignore[method-assign]
            await socket.send(json.dumps({"type": "run", "command": text}))
            size, kind = 0, ""
            while kind != "complete":
                message = json.loads(await socket.recv())
                kind = message["type"]
                size += len(message.get("data", ""))

        assert plain == []
        assert size == (8893 if text == "seq 2000" else 700000)
