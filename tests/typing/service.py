"""What type checkers are to think of the doors to the service. Checked by both, never run."""

from __future__ import annotations

from typing import assert_type

import hopx_async as hopx

__all__ = ["clients", "doors", "facts", "uncertain"]


async def doors(sandbox: hopx.Sandbox) -> None:
    """Sandboxes are created, found again, paused and kept."""
    assert_type(hopx.Sandbox.create("python", detached=True), hopx.Opening[hopx.Sandbox])
    assert_type(hopx.Sandbox.connect("sbx", api_key="k"), hopx.Opening[hopx.Sandbox])
    assert_type(await hopx.Sandbox.create(timeout_seconds=60), hopx.Sandbox)
    async with hopx.Sandbox.connect("sbx") as same:
        assert_type(same, hopx.Sandbox)
    assert_type(await sandbox.get_info(), hopx.SandboxInfo)
    assert_type(await sandbox.pause(), None)
    assert_type(await sandbox.resume(), None)
    assert_type(await sandbox.set_timeout(60), None)
    assert_type(sandbox.get_preview_url(8000), str)
    hopx.Sandbox.create(timeout="1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def clients(client: hopx.Client) -> None:
    """A client lists what there is, and is shared by sandboxes."""
    assert_type(hopx.Client(api_key="k", base_url="http://127.0.0.1:1").base_url, str)
    assert_type(client.base_url, str)
    sandboxes = client.list_sandboxes()
    assert_type(sandboxes, hopx.Listing[hopx.SandboxInfo])
    assert_type(client.list_sandboxes(), hopx.Listing[hopx.SandboxInfo])
    async for info in sandboxes:
        assert_type(info, hopx.SandboxInfo)
    assert_type(await client.list_templates(), list[hopx.TemplateInfo])
    assert_type(await client.get_template("python"), hopx.TemplateInfo)
    assert_type(await client.get_sandbox("sbx"), hopx.SandboxInfo)
    assert_type(await client.kill_sandbox("sbx"), None)
    assert_type(await client.aclose(), None)
    async with client as same:
        assert_type(same, hopx.Client)
        assert_type(hopx.Sandbox.create(client=same), hopx.Opening[hopx.Sandbox])


def facts(info: hopx.SandboxInfo, template: hopx.TemplateInfo) -> None:
    """What the service does not say is None, or empty."""
    assert_type((info.sandbox_id, info.status, info.region), tuple[str, str, str])
    assert_type((info.template_name, info.template_id), tuple[str, str])
    assert_type((info.created_at, info.expires_at), tuple[float | None, float | None])
    assert_type((info.timeout_seconds, info.public_host), tuple[int | None, str])
    assert_type(info.internet_access, bool | None)
    assert_type((info.vcpu, info.memory_mb), tuple[int | None, int | None])
    assert_type(info.disk_mb, int | None)
    assert_type((template.name, template.template_id), tuple[str, str])
    assert_type((template.display_name, template.description), tuple[str, str])
    assert_type((template.category, template.language), tuple[str, str])
    assert_type(template.is_active, bool | None)


def uncertain(error: hopx.HopxError) -> None:
    """A create whose answer was lost names what may be it."""
    if isinstance(error, hopx.CreateUncertain):
        assert_type(error.candidates, tuple[str, ...])
