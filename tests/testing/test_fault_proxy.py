"""The fault proxy: each fault, alone and under a real agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import hopx_async as hopx
from hopx_async.testing import FaultProxy
from tests.support.agents import running_agent

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncGenerator[str]:
    """Serve what sends back what it gets, to the end, and give its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncGenerator[Ends]:
    """Connect to the proxy."""
    host, port = proxy.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Tell whether the connection ended, politely or not."""
    try:
        return not await reader.read(1000)
    except ConnectionError:
        return True


async def test_forwards_both_ways_and_ends() -> None:
    """Bytes go there and back; the end of one direction leaves the other open."""
    async with echo() as target, FaultProxy(target) as proxy, connected(proxy) as (reader, writer):
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert len(await reader.read(-1)) == 300_000
        assert (proxy.connections, proxy.cuts) == (1, 0)


async def test_cut_ends_what_is_there_and_nothing_else() -> None:
    """Cut aborts connections; the next one is forwarded."""
    async with echo() as target, FaultProxy(target) as proxy:
        for number in (1, 2):
            async with connected(proxy) as (reader, writer):
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
                proxy.cut()
                assert await is_over(reader)
                assert (proxy.connections, proxy.cuts) == (number, number)


async def test_refuse_lasts_until_healed() -> None:
    """Refuse ends connections and new ones; heal admits them again."""
    async with echo() as target, FaultProxy(target) as proxy:
        proxy.refuse()
        async with connected(proxy) as (reader, _):
            assert await is_over(reader)
        proxy.heal()
        async with connected(proxy) as (reader, writer):
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"


async def test_blackhole_holds_until_healed() -> None:
    """A blackhole is silent, and what was sent into it arrives afterwards."""
    async with echo() as target, FaultProxy(target) as proxy, connected(proxy) as (reader, writer):
        proxy.blackhole()
        writer.write(b"ping")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.05)
        proxy.heal()
        assert await reader.readexactly(4) == b"ping"
        proxy.blackhole()
        proxy.cut()
        assert await is_over(reader)


async def test_delay_holds_each_piece() -> None:
    """A delay passes in both directions."""
    loop = asyncio.get_running_loop()
    async with echo() as target, FaultProxy(target) as proxy, connected(proxy) as (reader, writer):
        proxy.delay(0.05)
        began = loop.time()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        assert loop.time() - began > 0.09


async def test_corrupt_turns_bits_over() -> None:
    """So many pieces from the target are changed, and no more."""
    async with echo() as target, FaultProxy(target) as proxy, connected(proxy) as (reader, writer):
        proxy.corrupt()
        seen = []
        for _ in range(2):
            writer.write(b"ping")
            seen.append(await reader.readexactly(4))
    assert seen == [bytes([ord("p") ^ 0xFF]) + b"ing", b"ping"]


async def test_nobody_behind_it_is_told() -> None:
    """Without a target, or with one that is not there, connections end at once."""
    async with echo() as target:
        pass
    async with FaultProxy() as proxy:
        for proxy.target in (None, target):
            async with connected(proxy) as (reader, _):
                assert await is_over(reader)


async def test_misuse_is_told() -> None:
    """What cannot be is refused in words."""
    proxy = FaultProxy()
    with pytest.raises(hopx.MisuseError, match="async with"):
        _ = proxy.url
    for seconds in (-1.0, float("inf"), float("nan")):
        with pytest.raises(hopx.InvalidArgument, match="seconds"):
            proxy.delay(seconds)
    with pytest.raises(hopx.InvalidArgument, match="pieces"):
        proxy.corrupt(-1)


async def test_leaving_by_cancellation_leaves_nothing() -> None:
    """A block that is cancelled while its proxy is silent ends all connections."""
    proxy = FaultProxy()
    async with echo() as proxy.target:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), proxy:
                proxy.blackhole()
                async with connected(proxy) as (reader, writer):
                    writer.write(b"ping")
                    await reader.read(1)
        assert proxy.connections == 1


async def test_lines_are_whole_over_faults(tmp_path: Path) -> None:
    """An agent that is cut off, silenced and delayed delivers each line once."""
    async with (
        FaultProxy() as proxy,
        running_agent(tmp_path / "state", allow_hosts=[proxy.host]) as agent,
    ):
        proxy.target = agent.url
        async with hopx.remote(proxy.url, token=agent.token) as sandbox:
            job = await sandbox.commands.start("seq 1 20000")
            seen: list[str] = []
            async for line in job.lines():
                seen.append(line.text)
                if len(seen) % 4000 == 1:
                    proxy.cut()
                    proxy.delay(0.01)
                elif len(seen) % 4000 == 2000:
                    proxy.blackhole()
                    asyncio.get_running_loop().call_later(0.05, proxy.heal)
    assert seen == [str(number) for number in range(1, 20_001)]
    assert proxy.cuts >= 3


async def test_a_corrupted_frame_is_told(tmp_path: Path) -> None:
    """Bytes that are no frame end a stream with an error that blames the far side; not a handle."""
    async with (
        FaultProxy() as proxy,
        running_agent(tmp_path / "state", allow_hosts=[proxy.host]) as agent,
    ):
        proxy.target = agent.url
        fifo = tmp_path / "go"
        async with hopx.remote(proxy.url, token=agent.token) as sandbox:
            job = await sandbox.commands.start(f"mkfifo {fifo}; echo one; cat {fifo}")
            lines = job.lines()
            assert (await anext(lines)).text == "one"
            proxy.corrupt()
            await asyncio.to_thread(fifo.write_text, "two\n")
            with pytest.raises(hopx.RemoteProtocolError, match="broke the link"):
                await anext(lines)
            assert [line.text async for line in job.lines()] == ["one", "two"]
