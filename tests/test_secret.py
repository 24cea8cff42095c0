"""Secrets: texts that show themselves to nobody who did not ask on purpose."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import msgspec
import pytest

import hopx_async as hopx
from hopx_async.secret import plain_env

HUSH = "hunter2-and-more"


def test_nothing_shows_a_secret() -> None:
    """repr, str, format, a container and a traceback with it hold no part of the text."""
    secret = hopx.Secret(HUSH)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        repr([secret]),
    ]
    try:
        json.loads("{")
    except ValueError as error:
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()

    assert "hunter" not in "".join(shown)
    assert all("MASKED" in text for text in shown[:4])
    assert secret.reveal() == HUSH


def test_secrets_are_equal_by_their_text() -> None:
    """Equal texts make equal secrets with one hash; a text itself is not equal to its secret."""
    one, same, other = hopx.Secret(HUSH), hopx.Secret(HUSH), hopx.Secret("hunter3")

    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != HUSH
    assert {one, same, other} == {one, other}
    assert hopx.Secret("\ud800") == hopx.Secret("\ud800")


def test_a_secret_leaves_in_no_format() -> None:
    """Pickle and JSON refuse it; a copy is the secret itself, which does not change."""
    secret = hopx.Secret(HUSH)

    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)
    assert copy.copy(secret) is copy.deepcopy(secret) is secret
    with pytest.raises(AttributeError, match="does not change"):
        secret._value = "x"
    with pytest.raises(AttributeError, match="does not change"):
        del secret._value
    assert not hasattr(secret, "__dict__")


def test_only_a_text_is_made_a_secret() -> None:
    """What is no text is refused, and not shown either."""
    with pytest.raises(hopx.InvalidArgument) as caught:
        hopx.Secret(b"hunter2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert "hunter2" not in str(caught.value)


def test_variables_travel_plain_with_the_names_of_secrets() -> None:
    """plain_env reveals the values, and names those that were secret, in order."""
    env = {"B": hopx.Secret("b"), "N": None, "T": "t", "A": hopx.Secret("a")}

    assert plain_env(env) == ({"B": "b", "N": None, "T": "t", "A": "a"}, ["A", "B"])
