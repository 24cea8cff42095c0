"""What type checkers are to think of values and errors. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, assert_type

import hopx_async as hopx

__all__ = ["commands", "ends", "errors", "failures", "files", "misuses", "results", "specs"]


def ends(fate: hopx.Exit, info: hopx.CommandInfo, totals: hopx.Totals) -> None:
    """Values say which of their parts may be missing."""
    assert_type((fate.exit_code, fate.signal), tuple[int | None, str | None])
    assert_type((fate.reason, fate.status), tuple[hopx.EndReason, hopx.Status])
    assert_type((fate.started_at, fate.ended_at), tuple[float | None, float | None])
    assert_type((fate.duration, fate.survivors), tuple[float | None, int])
    assert_type((fate.ok, fate.tail, fate.to_dict()), tuple[bool, bytes, dict[str, Any]])
    assert_type(fate.usage, hopx.Totals | None)
    assert_type(hopx.Exit.from_payload({}), hopx.Exit)
    assert_type((totals.cpu_seconds, totals.max_rss_bytes), tuple[float, int | None])
    assert_type((totals.read_bytes, totals.write_bytes), tuple[int | None, int | None])
    assert_type(hopx.Totals.from_dict({}), hopx.Totals)
    fate.exit_code = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def commands(info: hopx.CommandInfo, ref: hopx.CommandRef) -> None:
    """What the far side knows of a command, and where it is found."""
    assert_type((info.process_id, info.command), tuple[str, str | tuple[str, ...]])
    assert_type((info.status, info.exit), tuple[hopx.Status, hopx.Exit | None])
    assert_type((info.name, info.tags), tuple[str | None, Mapping[str, str]])
    assert_type((info.working_dir, info.env_names), tuple[str | None, tuple[str, ...]])
    assert_type((info.timeout, info.idle_timeout), tuple[float | None, float | None])
    assert_type((info.pid, info.started_at, info.log_end), tuple[int | None, float | None, int])
    assert_type((info.stdin, info.pty), tuple[bool, tuple[int, int] | None])
    assert_type((info.merge_stderr, info.mask_secrets), tuple[bool, bool])
    assert_type((info.limits, info.usage_interval), tuple[hopx.Limits | None, float | None])
    assert_type(hopx.CommandInfo.from_dict({}), hopx.CommandInfo)
    assert_type((ref.sandbox, ref.process_id, ref.to_json()), tuple[str, str, str])
    assert_type(hopx.CommandRef.from_json("{}"), hopx.CommandRef)


def results(result: hopx.CommandResult, output: hopx.Output) -> None:
    """Output is bytes, and a text of them."""
    assert_type((result.stdout, result.stderr), tuple[str, str])
    assert_type((result.stdout_bytes, result.stderr_bytes), tuple[bytes, bytes])
    assert_type((result.exit, result.exit_code, result.ok), tuple[hopx.Exit, int | None, bool])
    assert_type((result.lost_bytes, output.lost_bytes), tuple[int, int])
    assert_type((output.stdout, output.stderr, output.cursor), tuple[str, str, str])
    assert_type((output.stdout_bytes, output.stderr_bytes), tuple[bytes, bytes])


def specs(spec: hopx.CommandSpec, limits: hopx.Limits, secret: hopx.Secret) -> None:
    """A spec is what start takes, as a value."""
    assert_type(hopx.CommandSpec.make(["a"], env={"A": secret, "B": None}), hopx.CommandSpec)
    assert_type((spec.process_id, spec.command), tuple[str, str | tuple[str, ...]])
    assert_type(spec.env, Mapping[str, str | hopx.Secret | None])
    assert_type((spec.name, spec.tags), tuple[str | None, Mapping[str, str]])
    assert_type((spec.working_dir, spec.pty), tuple[str | None, tuple[int, int] | None])
    assert_type((spec.timeout, spec.idle_timeout), tuple[float | None, float | None])
    assert_type((spec.stdin, spec.merge_stderr, spec.mask_secrets), tuple[bool, bool, bool])
    assert_type(spec.overflow, Literal["drop", "wait"])
    assert_type((spec.limits, spec.usage_interval), tuple[hopx.Limits | None, float | None])
    assert_type(spec.to_dict(), dict[str, Any])
    assert_type((limits.cpu_seconds, limits.nice), tuple[int | None, int | None])
    assert_type((limits.address_space_bytes, limits.processes), tuple[int | None, int | None])
    assert_type((limits.open_files, limits.file_size_bytes), tuple[int | None, int | None])
    assert_type(limits.to_dict(), dict[str, int] | None)
    assert_type(secret.reveal(), str)


def files(info: hopx.FileInfo, event: hopx.FileEvent, able: hopx.Capabilities) -> None:
    """Entries, changes, and what a far side can do."""
    assert_type((info.name, info.path, info.permissions), tuple[str, str, str])
    assert_type((info.size, info.is_directory), tuple[int, bool])
    assert_type(info.modified_at, float | None)
    assert_type((event.path, event.at), tuple[str, float])
    assert_type(event.kind, Literal["created", "modified", "deleted", "renamed", "missed"])
    assert_type((able.agent, able.version, able.proof, able.isolation), tuple[str, str, str, str])
    assert_type((able.merge_stderr, able.idle_timeout, able.stdin), tuple[bool, bool, bool])
    assert_type((able.pty, able.overflow_wait, able.limits), tuple[bool, bool, bool])
    assert_type((able.process_limit, able.internet_access), tuple[bool, bool])
    assert_type((able.env, able.mask_secrets, able.wait_port), tuple[bool, bool, bool])
    assert_type((able.usage, able.files, able.watch), tuple[bool, bool, bool])


def errors(error: hopx.HopxError) -> None:
    """What the far side says: every error has a code, and each kind its data."""
    assert_type(error.code, str)
    if isinstance(error, hopx.ApiError):
        assert_type((error.message, error.status), tuple[str, int])
        assert_type(error.request_id, str | None)
    if isinstance(error, hopx.SpawnError):
        assert_type((error.errno, error.filename), tuple[int | None, str])
    if isinstance(error, hopx.CommandNotFound):
        assert_type(error.process_id, str)
    if isinstance(error, hopx.TemplateNotFound):
        assert_type(error.suggestions, tuple[str, ...])
    if isinstance(error, hopx.FileNotFound):
        assert_type(error.path, str)
    if isinstance(error, hopx.PathNotAllowed):
        assert_type(error.path, str)
    if isinstance(error, hopx.RateLimited):
        assert_type(error.retry_after, float | None)
    if isinstance(error, hopx.AgentUnreachable):
        assert_type(error.seconds, float | None)
    no: hopx.ApiError = hopx.AgentFault("")
    no = hopx.AuthenticationError("")
    no = hopx.MissingApiKey()
    no = hopx.ConflictError("")
    missing: hopx.NotFoundError = hopx.SandboxNotFound("")
    nobody: hopx.TransportError = hopx.ConnectError("")
    nobody = hopx.ConnectionLost("")
    nobody = hopx.RequestTimeout("")
    broken: hopx.ProtocolError = hopx.LocalProtocolError("")
    broken = hopx.RemoteProtocolError("")
    broken = hopx.TlsError("")
    assert_type([no.code, missing.code, nobody.code, broken.code], list[str])


def failures(error: hopx.CommandError) -> None:
    """What became of a command."""
    if isinstance(error, hopx.CommandFailed):
        assert_type((error.exit, error.command), tuple[hopx.Exit, str | tuple[str, ...]])
        assert_type((error.name, error.process_id), tuple[str | None, str])
        assert_type(error.tail, bytes)
    if isinstance(error, hopx.OutputTooLarge):
        assert_type((error.stream, error.max_bytes), tuple[str, int])
        assert_type(error.handle, Any)
    if isinstance(error, hopx.NotReady):
        assert_type((error.what, error.exit, error.tail), tuple[str, hopx.Exit, bytes])
        assert_type((error.name, error.process_id), tuple[str | None, str])
    if isinstance(error, hopx.SurvivorsLeft):
        assert_type((error.process_id, error.means), tuple[str, str])
        assert_type(error.survivors, tuple[tuple[int, str], ...])
    if isinstance(error, hopx.StdinClosed):
        assert_type(error.process_id, str)
    failed: type[hopx.CommandFailed] = hopx.CommandTimedOut
    failed = hopx.CommandLost
    assert_type(failed.code, str)


def misuses(error: hopx.UsageError) -> None:
    """What was asked for wrongly; each is one of Python's errors as well."""
    if isinstance(error, hopx.InvalidArgument):
        assert_type((error.parameter, error.value, error.rule), tuple[str, str, str])
    value: ValueError = hopx.BadCursor("", "", "")
    state: RuntimeError = hopx.ClosedError("")
    state = hopx.BusyError("")
    state = hopx.MisuseError("")
    state = hopx.Unsupported("")
    assert_type((value.args, state.args), tuple[tuple[Any, ...], tuple[Any, ...]])
