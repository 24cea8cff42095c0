"""Readiness where the far side cannot tell of it: a command of our own looks, there."""

from __future__ import annotations

from typing import Any

from hopx_async.client import AgentClient
from hopx_async.errors import NotFoundError, SpawnError, Unsupported
from hopx_async.gathering import wait_any
from hopx_async.handle import CommandHandle
from hopx_async.launch import started
from hopx_async.model import CommandSpec
from hopx_async.starting import end_owned

__all__ = ["PROBE_SECONDS", "PROBE_TAGS", "port_is_ready"]

#: A probe ends by itself within this time, and is started again: its client may have died.
PROBE_SECONDS = 60
#: The labels of such a command, for who lists them.
PROBE_TAGS = {"hopx": "readiness"}

_AGAIN = 75
# Nothing is started while it waits: a pause is a read of a pipe that nobody writes to.
_PROGRAM = r"""
port=$1 path=$2 seconds=$3 hex=$(printf %04X "$1")
exec 9<> <(:)
listens() {
  local file place state
  for file in /proc/net/tcp /proc/net/tcp6; do
    [[ -r $file ]] || continue
    while read -r _ place _ state _; do
      [[ $state == 0A && ${place##*:} == "$hex" ]] && return 0
    done < "$file"
  done
  return 1
}
answers() {
  local host status=
  [[ -z $path ]] && return 0
  for host in 127.0.0.1 ::1; do
    { exec 3<>"/dev/tcp/$host/$port"; } 2>/dev/null || continue
    printf 'GET %s HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\nAccept: */*\r\n\r\n' \
      "$path" "$port" >&3
    read -t 5 -r _ status _ <&3
    exec 3>&-
    [[ $status == [23]?? ]] && return 0
  done
  return 1
}
while :; do
  listens && answers && exit 0
  (( SECONDS < seconds )) || exit 75
  read -t 0.2 -u 9
done
"""


async def port_is_ready(handle: CommandHandle, port: int, path: str | None) -> bool:
    """Wait until a port is open, and answers; return False if the command ended before.

    Whose port it is cannot be seen: a stranger's counts as well. Cancelling it ends the probe.

    Raises:
        Unsupported: If the far side cannot run the probe.
        HopxError: As for ``start`` and ``wait``.
    """
    while True:
        probe = await _started(handle, port, path, seconds=PROBE_SECONDS)
        try:
            first = await wait_any([probe, handle])
        except BaseException:
            await end_owned(probe, 0.0, [])
            raise
        if first is handle:
            await end_owned(probe, 0.0, [])
            # A server that outlives its leader counts.
            last = await _started(handle, port, path, seconds=0)
            return _found(await _fate_of(last))
        if _found(await _fate_of(probe)):
            return True


async def _started(
    handle: CommandHandle, port: int, path: str | None, *, seconds: int
) -> CommandHandle:
    await handle._client.until_ready()  # noqa: SLF001  # as in readiness
    way: Any = handle._client  # noqa: SLF001
    assert isinstance(way, AgentClient), "a way that is ready leads to a sandbox"
    spec = CommandSpec.make(
        ["bash", "-c", _PROGRAM, "hopx-readiness", str(port), path or "", str(seconds)],
        timeout=PROBE_SECONDS + 30,
        name=f"readiness of {handle.process_id}",
        tags=PROBE_TAGS,
    )
    try:
        return await started(way, spec, owned=True)
    except (NotFoundError, SpawnError) as error:
        raise Unsupported("this far side cannot tell who listens, nor run bash") from error


async def _fate_of(probe: CommandHandle) -> int | None:
    try:
        return (await probe.wait()).exit_code
    except BaseException:
        await end_owned(probe, 0.0, [])
        raise


def _found(code: int | None) -> bool:
    if code in {0, _AGAIN}:
        return code == 0
    raise Unsupported(f"this far side cannot tell who listens: the probe exited with {code}")
