"""What checks need of a far side; and the check that what it cannot do is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from hopx_async.errors import Unsupported
from hopx_async.model import Capabilities
from hopx_async.sandbox import Sandbox
from hopx_async.secret import Secret
from hopx_async.spec import Limits
from hopx_async.testing import contract_environment, contract_files, contract_input
from hopx_async.testing.expecting import raises

__all__ = ["NEEDS", "NEED_CHECKS", "checks_for", "what_is_lacking_is_refused"]

_Check: TypeAlias = Callable[[Sandbox], Awaitable[None]]

#: The capabilities that a check needs, where it needs any.
NEEDS: Mapping[_Check, tuple[str, ...]] = {
    contract_input.input_arrives_once_and_in_order: ("stdin",),
    contract_input.run_sends_its_input: ("stdin",),
    contract_input.sending_to_nobody_is_refused: ("stdin",),
    contract_input.two_senders_of_one_handle_are_refused: ("stdin",),
    contract_input.a_cancelled_send_is_finished_by_the_next: ("stdin",),
    contract_input.a_terminal_has_a_size: ("stdin", "pty"),
    contract_input.a_silent_command_is_ended: ("idle_timeout",),
    contract_environment.commands_get_the_environment: ("env",),
    contract_environment.secrets_are_masked: ("env", "mask_secrets"),
    contract_environment.usage_is_told_if_asked_for: ("usage",),
    contract_files.files_are_exact: ("files",),
    contract_files.directories_are_listed_whole: ("files",),
    contract_files.what_cannot_be_with_files_is_told: ("files",),
    contract_files.changes_of_files_are_told: ("files", "watch"),
}

#: What a start asks for that needs a capability.
_ASKED: dict[str, dict[str, Any]] = {
    "stdin": {"stdin": True},
    "pty": {"pty": True},
    "overflow_wait": {"overflow": "wait"},
    "limits": {"limits": Limits(open_files=64)},
    "usage": {"usage_interval": 1.0},
    "mask_secrets": {"mask_secrets": True, "env": {"A": Secret("geheimnis")}},
}


def checks_for(capabilities: Capabilities, checks: Iterable[_Check]) -> tuple[_Check, ...]:
    """Return those of *checks* that a far side with these capabilities keeps.

    The others need what it cannot do; `what_is_lacking_is_refused` is among those it keeps.
    """
    can = attrs.asdict(capabilities)
    return tuple(check for check in checks if all(can[need] for need in NEEDS.get(check, ())))


async def what_is_lacking_is_refused(sandbox: Sandbox) -> None:
    """What the far side says that it cannot do raises Unsupported, and nothing was started."""
    can = attrs.asdict(sandbox.capabilities)
    for name, options in _ASKED.items():
        if not can[name]:
            await raises(Unsupported, sandbox.commands.start("exit 0", **options))
    if not can["env"]:
        await raises(Unsupported, sandbox.env.get_all())
        await raises(Unsupported, sandbox.env.set({"A": "b"}))
    if not can["files"]:
        await raises(Unsupported, sandbox.files.list())
    if not can["watch"]:
        await raises(Unsupported, _watch(sandbox))
    assert await sandbox.commands.list() == []


async def _watch(sandbox: Sandbox) -> None:
    async with sandbox.files.watch():
        pass


#: The check of this file.
NEED_CHECKS: tuple[_Check, ...] = (what_is_lacking_is_refused,)
