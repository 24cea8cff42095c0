"""HopX's Python client, synchronous and unmodified, against our server."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.official.clients import Sandbox, errors
from tests.official.tokens import expire
from tests.support.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.official.conftest import Place

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def sandbox(place: Place) -> Iterator[Any]:
    one = Sandbox.create("code-interpreter", **place.door)
    yield one
    one.kill()


def test_the_pinned_client_is_what_is_tested() -> None:
    """The version is the one whose wire the contract tells of."""
    from importlib.metadata import version

    assert version("hopx-ai") == "0.5.0"


def test_create_with_variables(place: Place) -> None:
    """They are there for commands, and the sandbox is gone after kill."""
    one = Sandbox.create("base", env_vars={"GREETING": "hi", "API_KEY": "sk-1"}, **place.door)
    info = one.get_info()
    told = one.commands.run("echo $GREETING $API_KEY")
    one.kill()

    assert told.stdout == "hi sk-1\n"
    assert (info.status, info.template_name, info.organization_id) == ("running", "base", 1)
    assert info.resources is not None
    with pytest.raises(errors.NotFoundError) as gone:
        one.get_info()
    assert gone.value.request_id
    with pytest.raises(errors.NotFoundError):
        Sandbox.connect(one.sandbox_id, **place.door)


def test_an_unknown_template(place: Place) -> None:
    """The client's own suggestion comes out of our listing of templates."""
    with pytest.raises(errors.TemplateNotFoundError, match="code-interpreter"):
        Sandbox.create("code-interpretr", **place.door)


def test_templates(place: Place) -> None:
    """They are listed, filtered and told one by one; they are fixed."""
    names = [template.name for template in Sandbox.list_templates(**place.door)]

    assert "code-interpreter" in names
    assert Sandbox.get_template("base", **place.door).name == "base"
    assert [t.name for t in Sandbox.list_templates(language="bash", **place.door)] == ["base"]
    with pytest.raises(errors.APIError):
        Sandbox.delete_template("1", **place.door)


def test_keys(place: Place) -> None:
    """A wrong key is the client's AuthenticationError, with its code and request id."""
    with pytest.raises(errors.AuthenticationError) as refused:
        Sandbox.create("base", api_key="hopx_live_wrong.key", base_url=place.url)

    assert refused.value.code == "INVALID_TOKEN"
    assert refused.value.request_id


def test_health(place: Place, sandbox: Any) -> None:
    """Control plane and agent are healthy in the client's eyes."""
    assert Sandbox.health_check(base_url=place.url)["status"] == "healthy"
    assert sandbox.is_healthy()
    assert sandbox.get_agent_info()["agent"] == "hopx_async"


def test_connect_to_running_paused_and_stopped(place: Place) -> None:
    """A running one is there, a paused one is resumed, a stopped one is refused."""
    one = Sandbox.create("base", **place.door)
    with contextlib.closing(_Kill(one)):
        again = Sandbox.connect(one.sandbox_id, **place.door)
        assert again.commands.run("echo here").stdout == "here\n"
        again.pause()
        assert again.get_info().status == "paused"
        resumed = Sandbox.connect(one.sandbox_id, **place.door)
        assert resumed.get_info().status == "running"
        assert resumed.commands.run("echo there").stdout == "there\n"
        resumed._client.post(f"/v1/sandboxes/{one.sandbox_id}/stop")
        with pytest.raises(errors.HopxError, match="stopped"):
            Sandbox.connect(one.sandbox_id, **place.door)


class _Kill:
    """Closes a sandbox by the client's word for it."""

    def __init__(self, sandbox: Any) -> None:
        self._sandbox = sandbox

    def close(self) -> None:
        self._sandbox.kill()


def test_set_timeout(place: Place) -> None:
    """The time of its end is set anew, and the client reads it; then it is gone."""
    one = Sandbox.create("base", timeout_seconds=600, **place.door)
    before = one.get_time_to_expiry()
    one.set_timeout(3600)
    after = one.get_time_to_expiry()
    one.set_timeout(1)
    with pytest.raises(errors.NotFoundError):
        while True:
            one.get_info()
            time.sleep(0.1)

    assert before is not None
    assert after is not None
    assert before <= 600 < after <= 3600


def test_listing(place: Place) -> None:
    """Every sandbox is in the list, and on the pages of the iterator, once."""
    made = [Sandbox.create("base", region="paged", **place.door) for _ in range(3)]
    ids = sorted(one.sandbox_id for one in made)
    listed = [one.sandbox_id for one in Sandbox.list(region="paged", **place.door)]
    paged = [one.sandbox_id for one in Sandbox.list(region="paged", limit=2, **place.door)]
    iterated = [one.sandbox_id for one in Sandbox.iter(region="paged", **place.door)]
    for one in made:
        one.kill()

    assert listed == iterated == ids
    assert paged == ids[:2]


def test_too_many_sandboxes() -> None:
    """The client's ResourceLimitError has the numbers; nothing was created."""
    served = Served("--max-sandboxes", "1")
    url, key = served.announced()
    door = {"api_key": key, "base_url": url}
    one = Sandbox.create("base", **door)
    with pytest.raises(errors.ResourceLimitError) as refused:
        Sandbox.create("base", **door)
    listed = [each.sandbox_id for each in Sandbox.list(**door)]
    one.kill()

    assert served.end() == (0, "")
    assert (refused.value.limit, refused.value.current, refused.value.available) == (1, 1, 0)
    assert listed == [one.sandbox_id]


def test_a_token_that_expired_is_refreshed(place: Place) -> None:
    """A 401 of the agent makes the client ask for a token, once, and try again."""
    one = Sandbox.create("base", **place.door)
    one.commands.run("true")
    stale = expire(place.state, one.sandbox_id)
    one._agent_client.update_jwt_token(stale)
    told = one.commands.run("echo again")
    one.kill()

    assert told.stdout == "again\n"
    assert jwt.decode(stale, options={"verify_signature": False})["exp"] < time.time()


def test_an_agent_alone(place: Place, sandbox: Any) -> None:
    """debug() needs no control plane."""
    info = sandbox.get_info()
    alone = Sandbox.debug(info.public_host, sandbox.get_token())

    assert alone.commands.run("echo alone").stdout == "alone\n"
