"""The environment of a sandbox as a value: what calls make of it, and what may be told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hopx_async.model import refuse
from hopx_async.protocol import lifecycle
from hopx_async.protocol.lifecycle import HIDDEN, Problem

__all__ = ["MASKED", "MAX_BYTES", "Variables", "problem_with_variables"]

#: Stands for every value in what is told: HopX's own mark.
MASKED = "***MASKED***"
#: Names and values of a sandbox together; a program takes about twice as much in all.
MAX_BYTES = 1024 * 1024
# The agent gives these to each command; nobody else can.
_RESERVED = frozenset({"HOPX_SCOPE", "HOPX_PROCESS_ID"})


def problem_with_variables(variables: object, secrets: object = ()) -> Problem | None:
    """Return what is wrong with variables for a sandbox, or None; no value is shown.

    Args:
        variables: Names to texts, or to None, which unsets.
        secrets: Names of those whose values are secret.
    """
    if variables is None:
        return Problem("variables", variables, "it maps names to texts, None unsets")
    problem = lifecycle.problem_with_env(variables, "variables")
    if problem is not None:
        return problem
    assert isinstance(variables, dict)
    for name, value in variables.items():
        if name in _RESERVED:
            return Problem("variables", name, "the agent itself sets it for each command")
        if value == MASKED:
            rule = "the mark that stands for a value, not a value"
            return Problem(f"variables[{name!r}]", value, rule)
    return lifecycle.problem_with_secrets(variables, secrets, "variables")


class Variables:
    """The variables of one sandbox. Never changes: a call makes another of it.

    Attributes:
        values: Names to texts, or to None, which unsets what commands have else.
        secrets: The names of those whose values are secret.
    """

    __slots__ = ("secrets", "values")

    def __init__(
        self, values: Mapping[str, str | None] | None = None, secrets: frozenset[str] = frozenset()
    ) -> None:
        self.values = dict(values or {})
        self.secrets = secrets

    def __repr__(self) -> str:
        return f"<Variables {sorted(self.values)}>"

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Variables:
        """Return what `to_dict` made.

        Raises:
            InvalidArgument: If it breaks a rule.
        """
        return cls().after("env_set", value)

    def to_dict(self) -> dict[str, Any]:
        """Return it whole, values included: for the disk, never for a listing."""
        return {"variables": self.values, "secrets": sorted(self.secrets)}

    def told(self) -> dict[str, Any]:
        """Return what may be told of it: names, and a mark for each value."""
        shown = {name: None if value is None else MASKED for name, value in self.values.items()}
        return {"variables": shown, "secrets": sorted(self.secrets)}

    def to_mask(self, spec: Mapping[str, Any]) -> list[str]:
        """Return the texts that the output of a command with the full *spec* is not to show.

        Those of the sandbox are among them even where the command's own variables win.

        Raises:
            InvalidArgument: If it is to mask and there is nothing, or too much.
        """
        if not spec.get("mask_secrets"):
            return []
        own = [spec["env"][name] for name in spec.get("secrets") or ()]
        texts = list(dict.fromkeys([*own, *(str(self.values[name]) for name in self.secrets)]))
        most = lifecycle.MAX_SECRETS
        if not 0 < len(texts) <= most:
            # Who asks for masks and gives no secret has most likely forgotten to mark it.
            rule = f"1 to {most} values are Secrets, in env and the sandbox's, not {len(texts)}"
            refuse(Problem("mask_secrets", value=True, rule=rule))
        return texts

    def after(self, method: str, params: Mapping[str, Any]) -> Variables:
        """Return what the call *method* (``env_set``, ``env_update``, ``env_delete``) makes of it.

        Each may be repeated: the second time changes nothing.

        Raises:
            InvalidArgument: If something in *params* breaks a rule.
        """
        if method == "env_set":
            return self._changed({}, params)
        if method == "env_update":
            return self._changed(self.values, params)
        if method != "env_delete":
            raise ValueError(f"no such call: {method}")
        name = params.get("name")
        if not isinstance(name, str):
            refuse(Problem("name", name, "the name of a variable"))
        refuse(lifecycle.problem_with_env({name: None}, "name"))
        kept = {key: value for key, value in self.values.items() if key != name}
        return Variables(kept, self.secrets & kept.keys())

    def _changed(self, old: Mapping[str, str | None], params: Mapping[str, Any]) -> Variables:
        new, secrets = params.get("variables"), params.get("secrets")
        secrets = () if secrets is None else secrets
        refuse(problem_with_variables(new, secrets))
        assert isinstance(new, dict)
        values = {**old, **new}
        size = sum(len(name.encode()) + len((text or "").encode()) for name, text in values.items())
        if size > MAX_BYTES:
            rule = f"names and values of a sandbox take at most {MAX_BYTES} bytes, not {size}"
            refuse(Problem("variables", HIDDEN, rule))
        secret = (self.secrets & old.keys()) - new.keys() | {*secrets}
        refuse(lifecycle.problem_with_secrets(values, sorted(secret), "variables"))
        return Variables(values, secret)
