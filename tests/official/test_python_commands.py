"""Commands, code, files and variables by HopX's synchronous Python client."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.official.clients import Sandbox, errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.official.conftest import Place

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def sandbox(place: Place) -> Iterator[Any]:
    one = Sandbox.create("code-interpreter", **place.door)
    yield one
    one.kill()


def background(sandbox: Any, command: str, **options: Any) -> str:
    """Start a background command; return its id, out of the sentence that the client makes."""
    begun = time.monotonic()
    result = sandbox.commands.run(command, background=True, **options)
    assert time.monotonic() - begun < 10, "this client gives up after 10 s, and starts it again"
    assert result.exit_code == 0
    sentence, _, process_id = result.stdout.partition(": ")
    assert (sentence, process_id[:4]) == ("Background process started", "cmd_")
    return str(process_id)


def row(sandbox: Any, process_id: str) -> dict[str, Any]:
    [found] = [one for one in sandbox.list_processes() if one["process_id"] == process_id]
    return dict(found)


def ended(sandbox: Any, process_id: str) -> dict[str, Any]:
    """Poll the listing, as the client's users must, until the command has ended."""
    while (found := row(sandbox, process_id))["status"] in {"queued", "running"}:
        time.sleep(0.05)
    return found


def test_run(sandbox: Any) -> None:
    """Output, codes, variables and the working directory arrive; failing is no exception."""
    done = sandbox.commands.run("echo out; echo err >&2; exit 3", env={"X": "1"})
    there = sandbox.commands.run("echo $X; pwd", env={"X": "1"}, working_dir="/tmp")

    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 3)
    assert done.execution_time >= 0
    assert there.stdout == "1\n/tmp\n"
    assert sandbox.commands.run("nonesuch-program").exit_code == 127


def test_run_out_of_time(sandbox: Any) -> None:
    """A command over its time is ended with code 124, and its output so far is told."""
    done = sandbox.commands.run("echo begun; sleep 600", timeout=1)

    assert (done.stdout, done.exit_code) == ("begun\n", 124)


def test_run_in_no_directory(sandbox: Any) -> None:
    """A working directory that is not there is refused once, with its code."""
    with pytest.raises(errors.HopxError) as refused:
        sandbox.commands.run("true", working_dir="/workspace/nowhere")

    assert refused.value.code == "DIRECTORY_NOT_FOUND"
    assert "nowhere" in str(refused.value)


def test_background_to_its_end(sandbox: Any) -> None:
    """It is listed while it runs and when it has completed, with its output."""
    sandbox.commands.run("mkfifo fifo")
    options = {"env": {"TASK_NAME": "x"}, "working_dir": "/tmp", "timeout": 600}
    place = sandbox.commands.run("pwd").stdout.strip()
    text = f"echo $TASK_NAME; pwd; read line < {place}/fifo"
    process_id = background(sandbox, text, **options)
    while row(sandbox, process_id)["stdout"] != "x\n/tmp\n":
        time.sleep(0.05)
    running = row(sandbox, process_id)
    sandbox.commands.run("echo go > fifo")
    done = ended(sandbox, process_id)

    assert (running["status"], running["exit_code"]) == ("running", None)
    assert (done["status"], done["exit_code"], done["stdout"]) == ("completed", 0, "x\n/tmp\n")
    assert done["started_at"] <= done["completed_at"]


def test_background_that_fails(sandbox: Any) -> None:
    """A failing command is ``failed`` with its code; one out of time says so."""
    failing = ended(sandbox, background(sandbox, "echo no >&2; exit 3"))
    late = ended(sandbox, background(sandbox, "sleep 600", timeout=1))

    assert (failing["status"], failing["exit_code"], failing["stderr"]) == ("failed", 3, "no\n")
    assert (late["status"], late["exit_code"], late["timed_out"]) == ("failed", 124, True)


def test_kill_ends_everything(sandbox: Any) -> None:
    """Kill by the client's route ends the command and its children; again is no error."""
    process_id = background(sandbox, "sleep 600 & echo $!; wait")
    while not row(sandbox, process_id)["stdout"]:
        time.sleep(0.05)
    child = row(sandbox, process_id)["stdout"].strip()
    told = sandbox.kill_process(process_id)

    assert told["status"] == "killed"
    assert row(sandbox, process_id)["status"] == "killed"
    assert sandbox.commands.run(f"kill -0 {child}").exit_code == 1
    assert sandbox.kill_process(process_id)["success"]
    with pytest.raises(errors.HopxError) as unknown:
        sandbox.kill_process("cmd_nobody")
    assert unknown.value.code == "PROCESS_NOT_FOUND"


def test_a_kill_as_the_command_line_does_it(sandbox: Any) -> None:
    """K6: ``kill`` of a row's pid in another command ends the children as well."""
    process_id = background(sandbox, "sleep 600 & echo $!; wait")
    while not row(sandbox, process_id)["stdout"]:
        time.sleep(0.05)
    found = row(sandbox, process_id)
    assert sandbox.commands.run(f"kill {found['pid']}").exit_code == 0
    while sandbox.commands.run(f"kill -0 {found['stdout'].strip()}").exit_code == 0:
        time.sleep(0.05)

    assert row(sandbox, process_id)["status"] == "failed"


@pytest.mark.parametrize("form", ["K1", "K2", "K3", "K4", "K5", "bare"])
def test_every_form_of_a_kill(sandbox: Any, form: str) -> None:
    """Each dialect of the contract ends the command; by its bare id, too."""
    process_id = background(sandbox, "sleep 600")
    host, body = sandbox.get_info().public_host, {"process_id": process_id}
    headers, url = {"Authorization": f"Bearer {sandbox.get_token()}"}, f"{host}/execute/kill"
    asked: dict[str, tuple[str, str, dict[str, Any]]] = {
        "K1": ("DELETE", url, {"params": body}),
        "K2": ("DELETE", url, {"content": json.dumps(body)}),
        "K3": ("POST", url, {"json": body}),
        "K4": ("POST", f"{url}/{process_id}", {}),
        "K5": ("POST", f"{host}/processes/{process_id}/kill", {}),
        "bare": ("POST", f"{url}/{process_id.removeprefix('cmd_')}", {}),
    }
    method, place, options = asked[form]
    with httpx.Client(headers=headers) as http:
        told = http.request(method, place, **options)

    assert (told.status_code, told.json()["status"]) == (200, "killed")
    assert row(sandbox, process_id)["status"] == "killed"


@pytest.mark.parametrize(
    ("language", "code"),
    [("python", "print(6 * 7)"), ("javascript", "console.log(6 * 7)"), ("bash", "echo $((6 * 7))")],
)
def test_code(sandbox: Any, language: str, code: str) -> None:
    """Code runs in each language, in the foreground and in the background."""
    done = sandbox.run_code(code, language=language)
    begun = sandbox.run_code_background(code, language=language, name="job")

    assert (done.success, done.stdout, done.exit_code) == (True, "42\n", 0)
    assert not done.rich_outputs
    assert begun["process_id"].startswith("bg_")
    row = ended(sandbox, begun["process_id"])
    assert (row["status"], row["stdout"], row["name"]) == ("completed", "42\n", "job")


def test_code_that_fails(sandbox: Any) -> None:
    """A traceback is output; an unknown language and a webhook are refused once, with a code."""
    done = sandbox.run_code("import sys; sys.exit('no')")
    with pytest.raises(errors.HopxError) as language:
        sandbox.run_code("x", language="cobol")
    with pytest.raises(errors.HopxError) as webhook:
        sandbox.run_code_async("1", callback_url="http://127.0.0.1:9/")

    assert (done.success, done.exit_code, done.stderr) == (False, 1, "no\n")
    assert language.value.code == "INVALID_REQUEST"
    assert webhook.value.code == "NOT_IMPLEMENTED"


def test_env(sandbox: Any) -> None:
    """Set, update, read masked, and the client's delete, which sends the masks back."""
    sandbox.env.set_all({"A": "1", "B": "2", "MY_SECRET": "s"})
    shown = sandbox.env.update({"C": "3"})
    sandbox.env.delete("A")

    assert shown == {"A": "1", "B": "2", "C": "3", "MY_SECRET": "***MASKED***"}
    assert sandbox.env.get("MY_SECRET") == "***MASKED***"
    assert sandbox.env.get("A") is None
    assert sandbox.commands.run("echo $A-$B-$C-$MY_SECRET").stdout == "-2-3-s\n"
    assert sandbox.commands.run("echo $B", env={"B": "own"}).stdout == "own\n"


@pytest.mark.parametrize("name", ["a.txt", "with blank & sign#+%.txt", "ä日本.txt", "-x", "a'b\"c"])
def test_files_of_any_name(sandbox: Any, name: str) -> None:
    """A file of an odd name is written, listed, read and removed."""
    path = f"/workspace/odd/{name}"
    sandbox.files.write(path, "text é\n")

    assert sandbox.files.read(path) == "text é\n"
    assert sandbox.files.exists(path)
    assert name in [entry.name for entry in sandbox.files.list("/workspace/odd")]
    sandbox.files.remove(path)
    assert not sandbox.files.exists(path)


def test_bytes(sandbox: Any, tmp_path: Path) -> None:
    """Bytes arrive as they are, by write, upload and download."""
    data = bytes(range(256)) * 1000
    sandbox.files.write_bytes("/workspace/bytes", data)
    (tmp_path / "up").write_bytes(data)
    sandbox.files.mkdir("/workspace/deep/er")
    sandbox.files.upload(str(tmp_path / "up"), "/workspace/deep/er/up")
    sandbox.files.download("/workspace/deep/er/up", str(tmp_path / "down"))

    assert sandbox.files.read_bytes("/workspace/bytes") == data
    assert (tmp_path / "down").read_bytes() == data
    [entry] = sandbox.files.list("/workspace/deep")
    assert (entry.name, entry.is_directory) == ("er", True)


def test_files_that_are_refused(sandbox: Any) -> None:
    """What is missing, and what leads out, are the client's own errors."""
    with pytest.raises(errors.FileNotFoundError):
        sandbox.files.read("/workspace/none")
    for path in ("/etc/passwd", "/workspace/../../etc/passwd"):
        with pytest.raises(errors.FileOperationError) as refused:
            sandbox.files.read(path)
        assert refused.value.code == "PATH_NOT_ALLOWED"
        assert refused.value.request_id


def test_pause_and_resume(place: Place) -> None:
    """A background command stands still while paused, and goes on."""
    one = Sandbox.create("base", **place.door)
    process_id = background(one, "sleep 1; echo on")
    one.pause()
    paused = one.get_info().status
    one.resume()
    done = ended(one, process_id)
    one.kill()

    assert paused == "paused"
    assert done["stdout"] == "on\n"


def test_figures(sandbox: Any) -> None:
    """Metrics, the machine's processes and the caches answer in the client's shapes."""
    sandbox.commands.run("true")

    assert sandbox.get_metrics_snapshot()["total_requests"] > 0
    assert sandbox.get_agent_metrics()["uptime_seconds"] > 0
    assert all("pid" in one for one in sandbox.list_system_processes())
    assert sandbox.get_jupyter_sessions() == []
    assert sandbox.cache.stats()["cache"]["size"] == 0
    assert sandbox.cache.clear()["entries_removed"] == 0


def test_no_desktop(sandbox: Any) -> None:
    """Each call of the desktop ends at once in the client's own error."""
    with pytest.raises(errors.DesktopNotAvailableError):
        sandbox.desktop.screenshot()
