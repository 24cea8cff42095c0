"""What is typed into commands: stdin by offset, and the size of terminals."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import Any

from hopx_async.agent.board import Board, Command
from hopx_async.agent.keeper_link import Refusal
from hopx_async.agent.keepers import Keepers
from hopx_async.errors import (
    HopxError,
    InvalidArgument,
    RateLimited,
    StdinClosed,
    Unsupported,
)
from hopx_async.model import refuse
from hopx_async.protocol import lifecycle

__all__ = ["HANGING_CALLS", "MAX_WRITERS", "Inputs"]

#: Calls that wait for commands to read their stdin, at a time; others are refused. Each holds
#: `lifecycle.STDIN_BYTES` at most.
MAX_WRITERS = 1024
#: Methods that may hang for as long as their command likes.
HANGING_CALLS = frozenset({"stdin"})
# Seconds after which a call is answered although the command has not read: it is asked again.
_PATIENCE = 20.0


class Inputs:
    """Carries out ``stdin`` and ``resize``.

    Args:
        board: The commands that are known.
        keepers: Hold their stdin and terminals.
    """

    def __init__(self, board: Board, keepers: Keepers) -> None:
        self._board = board
        self._keepers = keepers
        self._writers = 0

    async def stdin(self, params: dict[str, Any]) -> dict[str, Any]:
        """Send bytes to a command's stdin; answered when they are with the command.

        Cancelling it is safe: what was sent to the keeper may be taken, once.

        Raises:
            StdinClosed: If nothing more can be sent.
            RateLimited: If too many such calls wait.
        """
        offset, data, eof = params.get("offset"), params.get("data", ""), params.get("eof", False)
        refuse(_problem_with_stdin(offset, data, eof))
        command = self._require(params)
        process_id = command.process_id
        if self._writers >= MAX_WRITERS:
            raise RateLimited(f"{MAX_WRITERS} writers wait for their commands to read")
        self._writers += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await self._keepers.ask(
                    command, lambda keeper: keeper.stdin(process_id, offset, data, eof=eof)
                )
        except TimeoutError:
            return {"offset": offset}
        except Refusal as refusal:
            raise _error(refusal, process_id) from None
        finally:
            self._writers -= 1
        return {"offset": answer.offset}

    async def resize(self, params: dict[str, Any]) -> dict[str, Any]:
        """Give a command's terminal another size; tell whether it was there to get it.

        Raises:
            Unsupported: If the command has no terminal.
        """
        size = [params.get("rows"), params.get("cols")]
        refuse(lifecycle.problem_with_size("size", size))
        command = self._require(params)
        process_id = command.process_id
        try:
            answer = await self._keepers.ask(
                command, lambda keeper: keeper.resize(process_id, size)
            )
        except Refusal as refusal:
            if refusal.code == "command_ended":
                return {"delivered": False}
            raise _error(refusal, process_id) from None
        return {"delivered": answer.delivered}

    def _require(self, params: dict[str, Any]) -> Command:
        return self._board.require(params.get("process_id"))


def _problem_with_stdin(offset: object, data: object, eof: object) -> lifecycle.Problem | None:
    if offset is not None and (type(offset) is not int or offset < 0):
        rule = "a number of bytes, 0 or more, or null to ask for it"
        return lifecycle.Problem("offset", offset, rule)
    if not isinstance(eof, bool):
        return lifecycle.Problem("eof", eof, "true or false")
    size = -1
    if isinstance(data, str) and data.isascii():
        try:
            size = len(b64decode(data, validate=True))
        except ValueError:
            size = -1
    if not 0 <= size <= lifecycle.STDIN_BYTES:
        # What is typed is not to be shown.
        shown = type(data).__name__ if size < 0 else size
        rule = f"at most {lifecycle.STDIN_BYTES} bytes in base64"
        return lifecycle.Problem("data", shown, rule)
    return None


def _error(refusal: Refusal, process_id: str) -> HopxError:
    if refusal.code in {"stdin_closed", "command_ended"}:
        return StdinClosed(f"stdin of {process_id} is closed", process_id=process_id)
    if refusal.code == "no_stdin":
        sentence = f"{process_id} has no stdin: it was not started with stdin=True"
        return StdinClosed(sentence, process_id=process_id)
    if refusal.code == "no_terminal":
        return Unsupported(f"{process_id} has no terminal: it was not started with pty=True")
    if refusal.code == "stdin_gap":
        rule = f"not behind what was taken ({refusal.failure.message})"
        return InvalidArgument("offset", "(behind)", rule)
    return refusal.error(process_id)
