"""Print ``docs/reference/openapi-control.json``: the routes of the local server's control plane.

``tests/test_openapi.py`` compares what this prints with the file. Run it as
``python -m tools.openapi_control > docs/reference/openapi-control.json``.
"""

from __future__ import annotations

from typing import Any

from hopx_async.control.routes import MAX_PAGE, MAX_SECONDS
from tools.openapi_parts import (
    ANY,
    FLAG,
    NAME,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    Operation,
    Schema,
    document,
    either,
    many,
    mapping,
    object_of,
    one_of,
    open_object,
    printed,
    ref,
)

__all__ = ["control_document"]

_ABOUT = "Sandboxes, their tokens and templates. Every answer has its request_id."
_SECONDS: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS}
_STATUS = one_of("creating", "running", "paused", "stopped")
_SANDBOX: dict[str, Schema] = {
    "id": TEXT,
    "object": one_of("sandbox"),
    "status": _STATUS,
    **dict.fromkeys(("public_host", "direct_url", "preview_url"), TEXT),
    **dict.fromkeys(("template_id", "template_name", "node_id", "region", "request_id"), TEXT),
    "organization_id": WHOLE,
    "resources": ref("Resources"),
    **dict.fromkeys(("internet_access", "live_mode"), FLAG),
    "isolation": one_of("none", "namespace"),
    "timeout_seconds": either(WHOLE),
    "expires_at": either(TIME),
    "created_at": TIME,
}
_TOKEN: dict[str, Schema] = {"auth_token": TEXT, "token_expires_at": TIME}
_LISTED = {name: schema for name, schema in _SANDBOX.items() if name != "request_id"}
_TEMPLATE: dict[str, Schema] = {
    "id": TEXT,
    "object": one_of("template"),
    **dict.fromkeys(("name", "display_name", "description", "category", "language"), TEXT),
    "default_resources": mapping(WHOLE),
    **dict.fromkeys(("features", "tags"), many(TEXT)),
    **dict.fromkeys(("is_active", "is_public"), FLAG),
    "status": TEXT,
}


def _page(name: str) -> Schema:
    return object_of(
        object=one_of("list"),
        data=many(ref(name)),
        has_more=FLAG,
        next_cursor=either(TEXT),
        url=TEXT,
        request_id=TEXT,
    )


_SCHEMAS: dict[str, Schema] = {
    "Resources": object_of(vcpu=WHOLE, memory_mb=WHOLE, disk_mb=WHOLE, disk_gb=WHOLE),
    "Sandbox": object_of(**_SANDBOX),
    "CreatedSandbox": object_of(**_SANDBOX, **_TOKEN),
    "ListedSandbox": object_of(**_LISTED),
    "Sandboxes": _page("ListedSandbox"),
    "Token": object_of(**_TOKEN, request_id=TEXT),
    "Template": object_of(**_TEMPLATE, request_id=TEXT),
    "ListedTemplate": object_of(**_TEMPLATE),
    "Templates": _page("ListedTemplate"),
    "Turned": object_of(id=TEXT, status=_STATUS, request_id=TEXT),
    "Deleted": object_of(id=TEXT, status=one_of("deleted"), request_id=TEXT),
    "Expiry": object_of(id=TEXT, timeout_seconds=WHOLE, expires_at=TIME, request_id=TEXT),
    "Health": object_of(status=one_of("healthy"), service=TEXT, version=TEXT, request_id=TEXT),
    "CreateSandbox": {
        **open_object(
            needed=(),
            # What is not known is left alone: HopX's clients may come to send more.
            template_name=NAME,
            template_id={"anyOf": [NAME, WHOLE]},
            region=either(TEXT),
            timeout_seconds=either(_SECONDS),
            internet_access=either(FLAG),
            env_vars=either(mapping(TEXT)),
            vcpu=NUMBER,
            memory_mb=NUMBER,
            disk_gb=NUMBER,
        ),
        "anyOf": [{"required": ["template_name"]}, {"required": ["template_id"]}],
    },
    "Error": object_of(
        error=object_of(message=TEXT, code=TEXT, request_id=TEXT, details=mapping(ANY)),
        message=TEXT,
        code=TEXT,
        request_id=TEXT,
    ),
}
_ONE = "/v1/sandboxes/{sandbox_id}"
_OPERATIONS = [
    Operation("GET /health", "Whether it serves.", ref("Health"), is_open=True),
    Operation(
        "POST /v1/sandboxes",
        "Create a sandbox; answered once its agent runs.",
        ref("CreatedSandbox"),
        201,
        body=ref("CreateSandbox"),
        says_no=(404, 413, 500),
    ),
    Operation(
        "GET /v1/sandboxes",
        "A page of sandboxes, oldest first.",
        ref("Sandboxes"),
        query={
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE},
            **dict.fromkeys(("cursor", "status", "region"), TEXT),
        },
    ),
    Operation(f"GET {_ONE}", "One sandbox.", ref("Sandbox"), says_no=(404,)),
    Operation(
        f"DELETE {_ONE}", "End it; answered once it has ended.", ref("Deleted"), says_no=(404,)
    ),
    *(
        Operation(f"POST {_ONE}/{verb}", about, ref("Turned"), says_no=(404, 409, 500))
        for verb, about in {
            "pause": "Stop its commands.",
            "resume": "Let them go on.",
            "start": "Start its agent anew.",
            "stop": "End its agent and its commands; its files stay.",
        }.items()
    ),
    Operation(
        f"PUT {_ONE}/timeout",
        "Let it be deleted so many seconds from now.",
        ref("Expiry"),
        body=open_object(timeout_seconds=_SECONDS),
        says_no=(404, 413),
    ),
    Operation(f"POST {_ONE}/token/refresh", "A fresh token.", ref("Token"), says_no=(404,)),
    Operation(
        "GET /v1/templates",
        "Every template.",
        ref("Templates"),
        query=dict.fromkeys(("language", "category"), TEXT),
    ),
    Operation(
        "GET /v1/templates/{name}", "A template, by name or id.", ref("Template"), says_no=(404,)
    ),
    Operation("DELETE /v1/templates/{name}", "Refused: they are fixed.", status=403),
    Operation("POST /v1/templates/build", "Refused: they are fixed.", status=403),
]


def control_document() -> dict[str, Any]:
    """Return the document."""
    return document(
        "The control plane of hopx-async serve",
        _ABOUT,
        _OPERATIONS,
        schemas=_SCHEMAS,
        security={
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
        common=(400, 401, 403),
    )


if __name__ == "__main__":
    print(printed(control_document()), end="")
