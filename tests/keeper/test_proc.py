from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading

import pytest

from hopx_async.keeper import proc


def test_stat_of_this_process() -> None:
    """read_stat knows parent, group, session and start of a process."""
    stat = proc.read_stat(os.getpid())

    assert stat is not None
    assert (stat.ppid, stat.pgrp, stat.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert stat.start_ticks > 0
    assert not stat.dead


def test_stat_survives_any_name() -> None:
    """A name with spaces and parentheses does not shift the fields."""
    line = b"7 (a) b (c) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 5 0 999 0 0"
    stat = proc.Stat(line)

    assert (stat.name, stat.state, stat.ppid, stat.pgrp) == ("a) b (c", "S", 1, 2)
    assert (stat.session, stat.threads, stat.start_ticks) == (3, 5, 999)


def test_zombie_is_dead_unless_a_thread_runs() -> None:
    """A zombie is dead; one whose other threads run is not."""
    rest = b"1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 %d 0 999 0 0"

    assert proc.Stat(b"7 (a) Z " + rest % 0).dead
    assert not proc.Stat(b"7 (a) Z " + rest % 2).dead


def test_no_such_process() -> None:
    """What is not there has no stat, no mark, no scope and no children."""
    child = subprocess.Popen(["true"])
    child.wait()

    assert proc.read_stat(child.pid) is None
    assert proc.read_mark(child.pid) is None
    assert proc.read_scopes(child.pid) == []
    assert proc.children(child.pid) == []


def test_mark_and_scopes_of_a_process() -> None:
    """read_mark and read_scopes find what a process was given."""
    before = resource.getrlimit(proc.RLIMIT_LOCKS)
    resource.setrlimit(proc.RLIMIT_LOCKS, (proc.mark_of("x"), before[1]))
    try:
        env = {**os.environ, "HOPX_SCOPE": "out/a:in/b"}
        pipe = subprocess.PIPE
        child = subprocess.Popen(["cat"], env=env, bufsize=0, stdin=pipe, stdout=pipe)
    finally:
        resource.setrlimit(proc.RLIMIT_LOCKS, before)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"x")
    assert child.stdout.read(1) == b"x"  # now it has executed for good
    with child:
        assert proc.read_mark(child.pid) == proc.mark_of("x")
        assert proc.read_mark(os.getpid()) is None
        assert proc.read_scopes(child.pid) == ["out/a", "in/b"]
        assert child.pid in proc.pids()
        child.kill()


@pytest.mark.leaves_orphans
def test_children_of_all_threads() -> None:
    """children finds those of every thread, descendants those below them."""
    children: list[subprocess.Popen[bytes]] = []
    release = threading.Event()

    def start() -> None:
        script = "sleep 60 & echo; wait"
        children.append(subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE))
        release.wait()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        while not children:
            pass
        out = children[0].stdout
        assert out is not None
        out.readline()
        assert children[0].pid in proc.children(os.getpid())
        below = proc.descendants(children[0].pid)
        assert len(below) == 1
        assert below[0] in proc.descendants(os.getpid())
        os.kill(below[0], 9)
    finally:
        release.set()
        thread.join()
        for child in children:
            child.communicate()


def test_scopes_nest() -> None:
    """scope_value appends to the scopes around a sandbox, and marks differ with them."""
    assert proc.scope_value("", "sbx", "a") == "sbx/a"
    assert proc.scope_value("o/p", "sbx", "a") == "o/p:sbx/a"
    assert proc.mark_of("sbx/a") != proc.mark_of("o/p:sbx/a")
    assert 0 <= proc.mark_of("sbx/a") < 2**60


def test_boot_id_is_the_kernels() -> None:
    """boot_id is the same for every process of this boot."""
    program = "from hopx_async.keeper.proc import boot_id; print(boot_id())"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert said.stdout.decode().strip() == proc.boot_id()
    assert len(proc.boot_id()) == 36


def test_sealed_descriptors_go_no_further() -> None:
    """What a process was let inherit is not inherited from it once it has sealed it."""
    reader, writer = os.pipe()
    program = (
        "import subprocess, sys; from hopx_async.keeper.proc import seal_descriptors;"
        "seal_descriptors();"
        f"test = ['test', '-e', '/proc/self/fd/{writer}'];"
        "sys.exit(subprocess.run(test, close_fds=False).returncode)"
    )
    done = subprocess.run([sys.executable, "-c", program], pass_fds=[writer], check=False)
    os.close(reader)
    os.close(writer)

    assert done.returncode == 1
