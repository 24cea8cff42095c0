"""Files of a real sandbox: what commands see of what is sent, and the other way round."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

import hopx_async as hopx
from tests.support.agents import running_agent

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="local() needs Linux")

ODD = ("a b", "&#+%?=;", "%2e%2e", "\u00fc\u4e16\U0001f600", "new\nline", "-n", "a\\b\"'`$x", " ")
LETTERS = "abc /\\\"'`$&#+%?=;:,*[]{}~!|<>()\n\t\u00fc\u4e16\U0001f600\u200d\u202e"
LARGE = 50 * 1024 * 1024
#: What a transfer of any size may add to the memory of either side.
ROOM = 24 * 1024 * 1024
SUMS = """
cd files; sha256sum --zero -- *
mkdir ../back; for f in *; do cat -- "$f" "$f" > "../back/$f"; done
"""


def made(chance: random.Random) -> dict[str, bytes]:
    """Return files with odd names and contents of all kinds."""
    names = [*ODD]
    while len(names) < 40:
        name = "".join(chance.choices(LETTERS, k=chance.randint(1, 20))).replace("/", "")
        if name not in {"", ".", "..", *names}:
            names.append(name)
    kinds = (
        chance.randbytes,
        lambda size: b"QUJD" * (size // 4),
        lambda size: b'{"agent":"x"}' * (size // 13),
        lambda size: b"\r\n--" * (size // 4),
    )
    return {name: kinds[n % 4](chance.randint(0, 3000)) for n, name in enumerate(names)}


async def test_commands_see_the_files_and_files_what_commands_made(tmp_path: Path) -> None:
    """Each file has the bytes and the name there that it has here, in both directions."""
    files = made(random.Random(5))  # noqa: S311  # the same each time
    async with hopx.local() as sandbox:
        for number, (name, data) in enumerate(files.items()):
            if number % 2:
                await sandbox.files.write(f"files/{name}", data)
            else:
                (tmp_path / "up").write_bytes(data)
                await sandbox.files.upload(tmp_path / "up", f"files/{name}")
        result = await sandbox.commands.run(SUMS, check=True)
        rows = [row.partition("  ") for row in result.stdout.split("\0") if row]
        seen = {name: digest for digest, _, name in rows}
        assert seen == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

        listed = await sandbox.files.list("back")
        assert {entry.name: entry.size for entry in listed} == {
            name: 2 * len(data) for name, data in files.items()
        }
        for entry in listed:
            await sandbox.files.download(entry.path, tmp_path / "down")
            assert (tmp_path / "down").read_bytes() == files[entry.name] * 2
            assert await sandbox.files.read(entry.path) == files[entry.name] * 2


async def test_a_program_that_is_written_can_be_run() -> None:
    """A mode makes a file executable."""
    async with hopx.local() as sandbox:
        await sandbox.files.write("bin/hello", "#!/bin/sh\necho hello\n", mode=0o755)
        assert (await sandbox.commands.run(["bin/hello"])).stdout == "hello\n"


async def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    """Fifty megabytes go and come whole, and neither side's memory grows with them."""
    source, back = tmp_path / "large", tmp_path / "back"
    block = os.urandom(1 << 20)
    with source.open("wb") as file:
        for _ in range(LARGE >> 20):
            file.write(block)
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            await sandbox.files.upload(tmp_path / "large", "warm")
            await sandbox.files.download("warm", back)
            sides = [os.getpid(), agent.agent_pid]
            before = [reset_peak(pid) for pid in sides]
            assert await sandbox.files.upload(source, "large") == LARGE
            assert await sandbox.files.download("large", back) == LARGE
            grown = [peak(pid) - size for pid, size in zip(sides, before, strict=True)]
            with pytest.raises(hopx.InvalidArgument, match="download"):
                await sandbox.files.read("large", max_bytes=LARGE - 1)

    assert max(grown) < ROOM
    with source.open("rb") as here, back.open("rb") as there:
        assert (
            hashlib.file_digest(here, "md5").digest() == hashlib.file_digest(there, "md5").digest()
        )


def reset_peak(pid: int) -> int:
    """Forget how much memory a process had at most; return what it has."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    """Return how much memory a process had at most, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def test_files_outlast_a_death_of_the_agent(tmp_path: Path) -> None:
    """A watch goes on and says that it was interrupted; calls that follow find the files."""
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            async with sandbox.files.watch() as watch:
                await sandbox.files.write("a", b"1")
                os.kill(agent.agent_pid, 9)
                while (await anext(watch)).kind != "missed":
                    pass
                await sandbox.files.write("b", b"2")
                while (await anext(watch)).path != "/workspace/b":
                    pass
            assert [entry.name for entry in await sandbox.files.list()] == ["a", "b"]
