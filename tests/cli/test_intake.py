"""What is piped in, also where others read from the same pipe, socket or terminal."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from hopx_async.cli.intake import intake

Pair = tuple[int, int]


def _pipe() -> Pair:
    return os.pipe()


def _sockets() -> Pair:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def _terminal() -> Pair:
    import tty

    main, side = os.openpty()
    tty.setraw(side)
    return side, main


@pytest.fixture(params=[_pipe, _sockets, _terminal])
def pair(request: pytest.FixtureRequest) -> Generator[Pair]:
    """A descriptor to read from, and one to write to it; the second may be closed."""
    make: Callable[[], Pair] = request.param
    read_end, write_end = make()
    yield read_end, write_end
    for descriptor in (read_end, write_end):
        try:
            os.close(descriptor)
        except OSError:
            assert descriptor == write_end


@contextmanager
def thief(source: int) -> Generator[anyio.Event]:
    """Take, as another process might, one byte of *source* before anybody who is told of it."""
    loop = asyncio.get_running_loop()
    taken, own = anyio.Event(), os.dup(source)

    def take() -> None:
        os.read(own, 1)
        loop.remove_reader(own)
        taken.set()

    loop.add_reader(own, take)
    try:
        yield taken
    finally:
        loop.remove_reader(own)
        os.close(own)


@pytest.mark.parametrize("blocking", [True, False])
async def test_what_others_took_is_waited_for_in_the_loop(pair: Pair, blocking: bool) -> None:
    """A readable event may find nothing: everybody else goes on meanwhile, whatever the flags."""
    source, write_end = pair
    os.set_blocking(source, blocking)
    with intake(source) as given:
        reading = asyncio.create_task(given.read(100))
        await anyio.wait_all_tasks_blocked()
        with thief(source) as taken:
            os.write(write_end, b"a")
            await taken.wait()
        await anyio.wait_all_tasks_blocked()
        assert not reading.done()
        os.write(write_end, b"b")
        assert await reading == b"b"

    assert os.get_blocking(source) is blocking


async def test_flags_that_change_meanwhile_change_nothing(pair: Pair) -> None:
    """Another process may set or clear O_NONBLOCK at any time."""
    source, write_end = pair
    with intake(source) as given:
        for blocking in (False, True, False):
            os.set_blocking(source, blocking)
            reading = asyncio.create_task(given.read(1))
            await anyio.wait_all_tasks_blocked()
            os.set_blocking(source, not blocking)
            os.write(write_end, b"a")
            assert await reading == b"a"


async def test_two_who_share_a_pipe_lose_and_repeat_nothing() -> None:
    """Each byte goes to one of them, and both see the end."""
    source, write_end = os.pipe()
    got: list[bytes] = []

    async def drain(descriptor: int) -> None:
        with intake(descriptor) as given:
            while data := await given.read(7):
                got.append(data)

    ends = [source, os.dup(source)]
    drains = [asyncio.create_task(drain(each)) for each in ends]
    await anyio.wait_all_tasks_blocked()
    wanted = os.urandom(50_000)
    os.write(write_end, wanted)
    os.close(write_end)
    await asyncio.gather(*drains)
    for each in ends:
        os.close(each)

    assert sorted(b"".join(got)) == sorted(wanted)


async def test_a_cancelled_read_takes_nothing(pair: Pair) -> None:
    """What comes behind the cancelling is for the next read."""
    source, write_end = pair
    with intake(source) as given:
        reading = asyncio.create_task(given.read(100))
        await anyio.wait_all_tasks_blocked()
        reading.cancel()
        await asyncio.wait([reading])
        os.write(write_end, b"a")
        assert await given.read(100) == b"a"


@pytest.mark.parametrize("make", [_pipe, _sockets])
async def test_the_end_is_seen(make: Callable[[], Pair]) -> None:
    """Also one that came before anything was read, behind all that was written."""
    source, write_end = make()
    os.write(write_end, b"a")
    os.close(write_end)
    with intake(source) as given:
        assert [await given.read(100) for _ in range(3)] == [b"a", b"", b""]
    os.close(source)


async def test_a_named_pipe_whose_writer_has_gone_has_ended(tmp_path: Path) -> None:
    """To open it anew is no reason to wait for another writer."""
    os.mkfifo(tmp_path / "fifo")
    source = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    write_end = os.open(tmp_path / "fifo", os.O_WRONLY)
    os.set_blocking(source, True)
    os.write(write_end, b"a")
    os.close(write_end)
    with intake(source) as given:
        assert [await given.read(100) for _ in range(2)] == [b"a", b""]
    os.close(source)


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    """Nothing can be waited for there, and nothing needs to be."""
    (tmp_path / "file").write_bytes(b"abc")
    source = os.open(tmp_path / "file", os.O_RDONLY)
    with intake(source) as given:
        assert [await given.read(2) for _ in range(3)] == [b"ab", b"c", b""]
    os.close(source)


async def test_of_a_terminal_the_other_end_is_read_as_it_is() -> None:
    """To open the master of a terminal anew would be to make another terminal."""
    side, main = _terminal()
    with intake(main) as given:
        os.write(side, b"a")
        with anyio.fail_after(60):
            assert await given.read(100) == b"a"
    os.close(side)
    os.close(main)


async def test_a_device_without_end_is_read_as_it_is() -> None:
    """A device that is no terminal has no name to open it by."""
    source = os.open("/dev/zero", os.O_RDONLY)
    with intake(source) as given:
        assert await given.read(3) == bytes(3)
    os.close(source)


async def test_where_nothing_can_be_opened_anew_it_is_read_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a system without /proc: alone with its pipe it works all the same."""
    source, write_end = os.pipe()

    def refuse(*_: object) -> int:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with intake(source) as given:
            os.write(write_end, b"a")
            assert await given.read(100) == b"a"
    os.close(write_end)
    os.close(source)
