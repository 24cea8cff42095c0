"""The environment of a sandbox as a value."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async.errors import InvalidArgument
from hopx_async.protocol import lifecycle
from hopx_async.protocol.variables import MASKED, MAX_BYTES, Variables, problem_with_variables


def test_calls_make_another_value() -> None:
    """set replaces, update merges, delete removes; the value before stays as it was."""
    first = Variables().after("env_set", {"variables": {"A": "a", "B": None}})
    second = first.after("env_update", {"variables": {"B": "b", "C": "secret"}, "secrets": ["C"]})
    third = second.after("env_delete", {"name": "C"})

    assert first.values == {"A": "a", "B": None}
    assert second.values == {"A": "a", "B": "b", "C": "secret"}
    assert (second.secrets, third.secrets) == (frozenset({"C"}), frozenset())
    assert third.values == {"A": "a", "B": "b"}
    assert second.after("env_update", {"variables": {"C": "plain"}}).secrets == set()
    assert second.after("env_update", {"variables": {"A": "x"}}).secrets == {"C"}
    assert second.after("env_set", {"variables": {"C": "plain"}}).secrets == set()
    with pytest.raises(ValueError, match="env_clear"):
        first.after("env_clear", {})


def test_what_is_told_has_no_values() -> None:
    """told and repr have names and marks alone; to_dict is whole and comes back."""
    one = Variables({"A": "geheim", "B": None}, frozenset({"A"}))
    back = Variables.from_dict(one.to_dict())

    assert one.told() == {"variables": {"A": MASKED, "B": None}, "secrets": ["A"]}
    assert "geheim" not in repr(one)
    assert (back.values, back.secrets) == (one.values, one.secrets)


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({}, "variables"),
        ({"variables": 7}, "variables"),
        ({"variables": {"A": MASKED}}, "variables['A']"),
        ({"variables": {"HOPX_SCOPE": "x"}}, "variables"),
        ({"variables": {"A": "x" * (MAX_BYTES // 8)}}, "variables['A']"),
        ({"variables": {"A": "abcdef"}, "secrets": "A"}, "secrets"),
        ({"variables": {"A": "abcdef"}, "secrets": ["B"]}, "secrets"),
        ({"variables": {"A": "abcdef"}, "secrets": ""}, "secrets"),
        ({"variables": {"A": "abcdef"}, "secrets": 0}, "secrets"),
        ({"variables": {"A": "abcdef"}, "secrets": [["A"]]}, "secrets"),
        ({"variables": {"A": None}, "secrets": ["A"]}, "secrets"),
        ({"variables": {"A": "abcde"}, "secrets": ["A"]}, "variables['A']"),
    ],
)
def test_bad_variables_change_nothing(params: dict[str, Any], parameter: str) -> None:
    """What breaks a rule is refused by name."""
    with pytest.raises(InvalidArgument) as caught:
        Variables().after("env_update", params)

    assert caught.value.parameter == parameter
    assert "abcde" not in str(caught.value)


def test_all_together_are_bounded() -> None:
    """Names and values together have a bound, and so has the number of secrets."""
    piece = "x" * 100_000
    full = Variables({str(number): piece for number in range(10)})
    many = {str(number): "secret" for number in range(lifecycle.MAX_SECRETS)}
    secret = Variables(many, frozenset(many))

    with pytest.raises(InvalidArgument, match="1048576 bytes"):
        full.after("env_update", {"variables": {"more": piece}})
    with pytest.raises(InvalidArgument, match="at most 64"):
        secret.after("env_update", {"variables": {"A": "secret"}, "secrets": ["A"]})
    assert problem_with_variables(many, list(many)) is None


def test_what_is_masked_is_both_sides_secrets() -> None:
    """A command's own secrets and the sandbox's are masked, each once, if it asks for that."""
    sandbox = Variables({"S": "secret-1", "T": "secret-2", "P": "plain"}, frozenset({"S", "T"}))
    spec = {"mask_secrets": True, "env": {"S": "own-value", "X": "secret-2"}, "secrets": ["X"]}

    assert sorted(sandbox.to_mask(spec)) == ["secret-1", "secret-2"]
    assert sandbox.to_mask({"env": {}}) == []
    with pytest.raises(InvalidArgument, match="mask_secrets"):
        Variables({"P": "plain"}).to_mask({"mask_secrets": True, "env": {}})
    own = {f"own{number}": f"own-{number:04}" for number in range(lifecycle.MAX_SECRETS)}
    with pytest.raises(InvalidArgument, match="not 66"):
        sandbox.to_mask({"mask_secrets": True, "env": own, "secrets": list(own)})
