"""What the benchmarks read from the system."""

from __future__ import annotations

import mmap
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from benchmarks import readings
from tests.support.agents import running_agent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


async def test_family_finds_root_keepers_and_agent(tmp_path: Path) -> None:
    """Each process of an agent is found once, by what it is."""
    async with running_agent(tmp_path / "state") as agent:
        found = readings.family(os.getpid())

    assert agent.pid in found["root"]
    assert len(found["keepers"]) == len(found["agent"]) == 1
    assert not set(found["root"]) & {*found["keepers"], *found["agent"]}


def test_memory_descriptors_and_threads_are_those_of_the_process() -> None:
    """What this process takes shows in its figures."""
    before = readings.descriptors(os.getpid()), readings.threads(os.getpid())
    kib = readings.memory_kib(os.getpid())
    # Pages of their own, not some that were freed before.
    held = mmap.mmap(-1, 8 * 1024 * 1024, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held.write(os.urandom(len(held)))
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    with Path(os.devnull).open("rb"):
        thread.start()
        after = readings.descriptors(os.getpid()), readings.threads(os.getpid())
    done.set()
    thread.join()

    assert after == (before[0] + 1, before[1] + 1)
    assert readings.memory_kib(os.getpid()) > kib + len(held) / 1024 / 2


def test_a_peak_begins_anew() -> None:
    """A peak that was before is forgotten."""
    bytearray(os.urandom(32 * 1024 * 1024))
    readings.forget_peak(os.getpid())

    peak = readings.memory_kib(os.getpid(), "VmHWM")
    assert peak < readings.memory_kib(os.getpid(), "VmRSS") + 4096


def test_tcp_bytes_are_those_of_open_connections() -> None:
    """What a connection has carried is counted, both ways, and at both of its ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = readings.tcp_bytes()
        with socket.create_connection(server.getsockname()) as one:
            other, _ = server.accept()
            with other:
                one.sendall(b"x" * 1000)
                while len(other.recv(1000, socket.MSG_PEEK)) < 1000:
                    pass
                other.sendall(b"y" * 10)
                one.recv(10, socket.MSG_WAITALL)
                after = readings.tcp_bytes()

    new = [after[name] for name in after.keys() - before.keys()]
    # Whoever connects counts the acknowledged SYN as a byte.
    assert sorted(new) == [1010, 1011]
