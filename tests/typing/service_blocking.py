"""What type checkers are to think of the doors to the service, without async. Never run."""

from __future__ import annotations

from typing import assert_type

import hopx_async as hopx
from hopx_async import blocking

__all__ = ["clients", "doors"]


def doors(sandbox: blocking.Sandbox) -> None:
    """Sandboxes are created, found again, paused and kept."""
    assert_type(blocking.Sandbox.create("python", detached=True), blocking.Sandbox)
    assert_type(blocking.Sandbox.connect("sbx", api_key="k"), blocking.Sandbox)
    assert_type(sandbox.get_info(), hopx.SandboxInfo)
    assert_type(sandbox.pause(), None)
    assert_type(sandbox.resume(), None)
    assert_type(sandbox.set_timeout(60), None)
    assert_type(sandbox.get_preview_url(8000), str)


def clients(client: blocking.Client) -> None:
    """A client lists what there is, and is shared by sandboxes."""
    assert_type(client.base_url, str)
    sandboxes = client.list_sandboxes()
    assert_type(sandboxes, blocking.Listing[hopx.SandboxInfo])
    assert_type(client.list_sandboxes(), blocking.Listing[hopx.SandboxInfo])
    assert_type(next(sandboxes), hopx.SandboxInfo)
    assert_type(client.list_templates(), list[hopx.TemplateInfo])
    assert_type(client.get_template("python"), hopx.TemplateInfo)
    assert_type(client.get_sandbox("sbx"), hopx.SandboxInfo)
    assert_type(client.kill_sandbox("sbx"), None)
    assert_type(client.close(), None)
    with client as same:
        assert_type(same, blocking.Client)
        assert_type(blocking.Sandbox.create(client=same), blocking.Sandbox)
