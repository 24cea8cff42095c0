from __future__ import annotations

import json
import os
import sys

from hopx_async.keeper.supervise import Backoff, Child, agent_env, child_env, describe_status


def test_backoff_gives_up_after_too_many() -> None:
    """Five deaths within the window are forgiven, with growing delays; the sixth is not."""
    backoff = Backoff(most=5, window=60.0)
    delays = [backoff.delay(float(second)) for second in range(6)]

    assert delays[-1] is None
    assert delays[:5] == sorted(delay for delay in delays if delay is not None)


def test_backoff_forgets() -> None:
    """Deaths further apart than the window never add up."""
    backoff = Backoff(most=1, window=60.0)

    assert [backoff.delay(second * 61.0) for second in range(10)] == [0.0] * 10


def test_child_env_has_no_secrets() -> None:
    """child_env keeps what Python needs, and nothing of ours or of the user's."""
    kept = child_env({"PATH": "p", "PYTHONPATH": "q", "HOPX_TOKEN": "t", "AWS_SECRET": "s"})

    assert kept == {"PATH": "p", "PYTHONPATH": "q"}


def test_agent_env_has_what_keeps_its_memory_and_no_secrets() -> None:
    """agent_env adds to child_env what glibc keeps of the memory of frames, and nothing else."""
    environ = {"PATH": "p", "HOPX_TOKEN": "t"}
    added = agent_env(environ).keys() - child_env(environ).keys()

    assert {name.removeprefix("MALLOC_") for name in added} == {
        "MMAP_THRESHOLD_",
        "TRIM_THRESHOLD_",
    }


def test_child_inherits_named_descriptors_only() -> None:
    """A child has the descriptors it is told of, in a session of its own, and no others."""
    reader, writer = os.pipe()
    other = os.open("/dev/null", os.O_RDONLY)
    program = (
        "import json,os,sys; fd=int(sys.argv[2]);"
        "fds = [int(name) for name in os.listdir('/proc/self/fd')];"
        "fds = [number for number in sorted(fds) if os.path.exists(f'/proc/self/fd/{number}')];"
        "os.write(fd, json.dumps((sys.argv[1], fds, os.getsid(0) == os.getpid())).encode())"
    )
    child = Child([sys.executable, "-c", program], {"out": writer}, {})
    os.close(writer)
    _, status = os.waitpid(child.pid, 0)
    name, fds, own_session = json.loads(os.read(reader, 4096))
    os.close(reader)
    os.close(other)

    assert status == 0
    assert name == "--out-fd"
    assert {0, 1, 2, writer} <= set(fds)
    assert other not in fds
    assert reader not in fds
    assert own_session


def test_describe_status_is_a_phrase() -> None:
    """describe_status tells codes from signals."""
    assert describe_status(3 << 8) == "exited with 3"
    assert describe_status(9) == "ended by signal 9"
