"""The variables that every command of a sandbox gets: ``sandbox.env``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopx_async.client import AgentClient
from hopx_async.errors import InvalidArgument
from hopx_async.model import refuse
from hopx_async.protocol.variables import Variables, problem_with_variables
from hopx_async.secret import Secret, plain_env

__all__ = ["Environment"]


class Environment:
    """The environment of one sandbox: ``sandbox.env``.

    What is set here counts for commands started later, also by others and after the
    agent was started again; a command's own *env* wins over it. Values are write-only:
    they go to the commands and into one file of the agent (mode 0600), and never come
    back. Every call may be cancelled; it may or may not have been carried out then.
    """

    def __init__(self, client: AgentClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<Environment of {self._client.sandbox_id}>"

    async def get_all(self) -> dict[str, str | None]:
        """Return the names that are set, each with ``"***MASKED***"`` for its value.

        A value is never told, not to who set it either: what is not told is in no log and
        no listing. The mark is refused as a value, so that writing back what was
        read cannot destroy anything. Read a value in a command that has it, if need be.

        Returns:
            Names to the mark, or to None where commands have the variable unset.

        Raises:
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        answer = await self._client.call("env_get")
        return dict(answer["variables"])

    async def set(self, variables: Mapping[str, str | Secret | None]) -> None:
        """Replace everything that was set by *variables*.

        Args:
            variables: Names to values; None has commands run without that variable, even if
                they would have it else. `Secret` values are masked in the output of commands
                started with *mask_secrets*.

        Raises:
            InvalidArgument: If a name or a value breaks a rule, or a value is the mark of
                `get_all`; nothing was sent, no value is shown.
            AgentFault: If the agent has no room to keep it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        await self._change("env_set", variables)

    async def update(self, variables: Mapping[str, str | Secret | None]) -> None:
        """Set these variables, and leave the others as they are.

        Args:
            variables: As for `set`.

        Raises:
            InvalidArgument: As for `set`.
            AgentFault: If the agent has no room to keep it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        await self._change("env_update", variables)

    async def delete(self, name: str) -> None:
        """Forget what was set for *name*; commands have what they would have without it.

        A name that is not set is no error.

        Raises:
            InvalidArgument: If it is no name of a variable.
            AgentFault: If the agent has no room to keep the change.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        params = {"name": name}
        Variables().after("env_delete", params)
        await self._client.call("env_delete", **params)

    async def _change(self, method: str, variables: Any) -> None:
        if not isinstance(variables, Mapping):
            raise InvalidArgument("variables", type(variables).__name__, "it is a mapping")
        plain, secrets = plain_env(variables)
        refuse(problem_with_variables(plain, secrets))
        await self._client.call(method, variables=plain, secrets=secrets)
