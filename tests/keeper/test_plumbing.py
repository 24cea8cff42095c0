"""What connects a command with its keeper: descriptors, and terminals on a real keeper."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

import pytest

from hopx_async.keeper.plumbing import Plumbing, resize
from hopx_async.protocol import records
from tests.keeper.harness import KeeperProcess, output

if TYPE_CHECKING:
    from pathlib import Path


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  # no entry is looked at


@pytest.mark.parametrize(
    ("spec", "kinds", "writes"),
    [
        ({}, [records.STDOUT, records.STDERR], False),
        ({"merge_stderr": True}, [records.STDOUT], False),
        ({"stdin": True}, [records.STDOUT, records.STDERR], True),
        ({"pty": [10, 20], "stdin": True, "merge_stderr": True}, [records.STDOUT], True),
    ],
)
def test_descriptors_are_few_and_never_block(
    spec: dict[str, object], kinds: list[int], writes: bool
) -> None:
    """A command costs a descriptor per output and one for its stdin; none is left behind."""
    before = _descriptors()
    plumbing = Plumbing(spec)
    plumbing.close_theirs()
    ours = [fd for fd, _ in plumbing.readers]
    if plumbing.writer is not None:
        ours.append(plumbing.writer)

    assert [kind for _, kind in plumbing.readers] == kinds
    assert (plumbing.writer is not None) == writes
    assert not any(os.get_blocking(fd) for fd in ours)
    assert not any(os.get_inheritable(fd) for fd in ours)
    plumbing.close_ours()
    assert _descriptors() == before


def test_nothing_is_left_of_what_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where descriptors run out, those that were made are closed."""
    pipe = os.pipe
    made: list[int] = []

    def few() -> tuple[int, int]:
        if made:
            raise OSError(24, "too many")
        made.append(1)
        return pipe()

    before = _descriptors()
    monkeypatch.setattr(os, "pipe", few)
    with pytest.raises(OSError, match="too many"):
        Plumbing({})

    assert _descriptors() == before


def test_terminal_has_its_size() -> None:
    """A terminal begins with the size asked for, and takes another."""
    plumbing = Plumbing({"pty": [10, 20]})
    master = plumbing.readers[0][0]
    assert os.get_terminal_size(master) == (20, 10)
    resize(master, 30, 40)
    assert os.get_terminal_size(master) == (40, 30)
    plumbing.close_theirs()
    plumbing.close_ours()


# On a keeper.


def _type(keeper: KeeperProcess, process_id: str, offset: int, text: bytes) -> int:
    data = base64.b64encode(text).decode()
    answer = keeper.ask("stdin", id=process_id, offset=offset, data=data, eof=False)
    return int(answer["ok"]["offset"])


@pytest.mark.parametrize("limits", [None, {"open_files": 100}])
def test_command_has_a_terminal_of_its_own(
    keeper: KeeperProcess, tmp_path: Path, limits: dict[str, int] | None
) -> None:
    """All three descriptors are the terminal that controls its session, spawned or forked."""
    program = (
        "import os; print(all(map(os.isatty, range(3))), os.ttyname(0) == os.ttyname(2), "
        "os.tcgetpgrp(0) == os.getpgrp(), os.open('/dev/tty', os.O_RDWR) > 2, "
        "*os.get_terminal_size())"
    )
    spec = {"pty": [33, 77], "stdin": True, "merge_stderr": True, "limits": limits}
    exit_ = keeper.run("a", ["python3", "-c", program], **spec)

    assert output(tmp_path, "a") == (b"True True True True 77 33\r\n", b"")
    assert exit_["exit_code"] == 0


def test_last_output_of_a_terminal_is_whole(keeper: KeeperProcess, tmp_path: Path) -> None:
    """What a leader prints just before its end is not lost with its terminal, 20 times."""
    size = 50_000
    ids = [f"n{number}" for number in range(20)]
    for process_id in ids:
        command = f"head -c {size} /dev/zero | tr '\\0' x; printf end; exit 3"
        keeper.send_start(process_id, command, pty=[24, 80], stdin=True, merge_stderr=True)
    codes = [keeper.end_of(process_id)["exit_code"] for process_id in ids]

    assert codes == [3] * 20
    for process_id in ids:
        assert output(tmp_path, process_id)[0] == b"x" * size + b"end"


def test_terminal_is_resized_and_interrupted(keeper: KeeperProcess) -> None:
    """A resize is a SIGWINCH, Ctrl-C a SIGINT; asked for again it is no error."""
    trap = "trap 'stty size' WINCH; trap 'echo caught; exit 7' INT; echo ready; "
    keeper.start("a", trap + "while :; do sleep 0.05; done", pty=[24, 80], stdin=True)
    keeper.wait_for_output("a", b"ready")
    for _ in range(2):
        assert keeper.ask("resize", id="a", size=[12, 34])["ok"] == {"delivered": True}
    keeper.wait_for_output("a", b"12 34")
    _type(keeper, "a", 0, b"\x03")

    assert keeper.end_of("a")["exit_code"] == 7
    assert keeper.ask("resize", id="a", size=[1, 1])["error"]["code"] == "command_ended"


def test_command_without_a_terminal_has_no_size(keeper: KeeperProcess) -> None:
    """resize is refused for a command on pipes, and for a size that is none."""
    keeper.start("a", "sleep 60")

    assert keeper.ask("resize", id="a", size=[1, 1])["error"]["code"] == "no_terminal"
    for size in ([0, 1], [1, 65536], [1], "1x1", [1.0, 2], None):
        assert keeper.ask("resize", id="a", size=size)["error"]["parameter"] == "size"


def test_grandchild_on_the_terminal_does_not_hold_back_the_end(keeper: KeeperProcess) -> None:
    """The end comes after the drain time although somebody keeps the terminal open."""
    command = "trap '' HUP; (trap '' HUP; exec sleep 300) & exit 5"
    assert keeper.run("a", command, pty=[24, 80], stdin=True)["exit_code"] == 5
