"""The agent's own routes, below ``/v1``: a part of ``tools/openapi_agent.py``."""

from __future__ import annotations

from typing import Any

from hopx_async.protocol import lifecycle
from tools.openapi_parts import (
    ANY,
    FLAG,
    NAME,
    NUMBER,
    TEXT,
    WHOLE,
    Operation,
    Schema,
    either,
    many,
    mapping,
    object_of,
    one_of,
    ref,
)

__all__ = ["OUR_OPERATIONS", "OUR_SCHEMAS"]

_ID: Schema = {"type": "string", "pattern": f"^{lifecycle.ID_RULE}$"}
_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0}
_SIZE: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
_EXIT: Schema = {"type": "object", "required": ["reason"]}

OUR_SCHEMAS: dict[str, Schema] = {
    "OurError": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"code": TEXT, "message": TEXT},
                "required": ["code", "message"],
            }
        },
        "required": ["error"],
        "additionalProperties": False,
    },
    "Spec": object_of(
        needed=("command",),
        process_id=_ID,
        command={"anyOf": [NAME, {"type": "array", "items": TEXT, "minItems": 1}]},
        env=either(mapping(either(TEXT))),
        **dict.fromkeys(("working_dir", "name"), either(NAME)),
        **dict.fromkeys(("timeout", "idle_timeout"), either(_SECONDS)),
        tags=either(mapping(TEXT)),
        **dict.fromkeys(("merge_stderr", "stdin", "mask_secrets"), FLAG),
        pty=either({"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 2}),
        overflow=one_of("drop", "wait"),
        limits=either({"type": "object"}),
        usage_interval=either(_SECONDS),
        secrets=either(many(TEXT)),
    ),
    "CommandInfo": object_of(
        spec={"type": "object", "required": ["process_id", "command"]},
        pid=either(WHOLE),
        started_at=either(NUMBER),
        exit=either(_EXIT),
        log_end=WHOLE,
    ),
    "Variables": object_of(variables=mapping(either(TEXT)), secrets=many(TEXT)),
    "ChangeVariables": object_of(
        needed=("variables",), variables=mapping(either(TEXT)), secrets=either(many(TEXT))
    ),
}


def _ours(route: str, about: str, good: Schema | None = None, **more: Any) -> Operation:
    return Operation(route, about, good, error="OurError", **more)


_ONE = "/v1/commands/{process_id}"
_SET: dict[str, Any] = {"body": ref("ChangeVariables"), "says_no": (413, 507)}
OUR_OPERATIONS = [
    _ours("GET /v1/hello", "What it is and can do, and whose.", ref("Info")),
    _ours("GET /v1/link", "The link: a websocket of frames.", status=101, says_no=(426, 429)),
    _ours(
        "POST /v1/link/{session}",
        "The link by long-poll; it hangs while there is nothing to say.",
        {"type": "string", "format": "binary"},
        media="application/octet-stream",
        says_no=(404, 413, 429),
    ),
    _ours("DELETE /v1/link/{session}", "End a session of it.", status=204),
    _ours(
        "GET /v1/commands",
        "A page of commands.",
        object_of(infos=many(ref("CommandInfo")), next=either(TEXT)),
        query={
            "after": TEXT,
            "status": one_of(*sorted(lifecycle.STATUSES)),
            **dict.fromkeys(("name", "tag"), TEXT),
        },
    ),
    _ours(
        f"PUT {_ONE}",
        "Start a command, or get the one that has this id.",
        object_of(created=FLAG, info=ref("CommandInfo")),
        also=201,
        body=ref("Spec"),
        says_no=(409, 413, 422, 429, 507),
    ),
    _ours(f"GET {_ONE}", "One command.", object_of(info=ref("CommandInfo")), says_no=(404,)),
    _ours(
        f"POST {_ONE}/signals/{{signal_id}}",
        "Send a signal.",
        object_of(delivered=FLAG),
        body=object_of(
            needed=("name",),
            name=one_of(*sorted(lifecycle.SIGNAL_NAMES)),
            cause={"enum": [None, "killed"]},
        ),
        says_no=(404, 413),
    ),
    _ours(
        f"POST {_ONE}/kill",
        "End a command and all that it started; answered once that is proven.",
        object_of(exit=either(_EXIT), survivors=many(ANY), means=TEXT),
        body=object_of(needed=(), grace={"type": "number", "minimum": 0}),
        says_no=(404, 409, 413),
    ),
    _ours(
        f"POST {_ONE}/stdin",
        "Send input.",
        object_of(offset=WHOLE),
        body=object_of(
            needed=("offset",),
            offset=either({"type": "integer", "minimum": 0}),
            data={"type": "string", "pattern": "^([A-Za-z0-9+/]{4})*$"},
            eof=FLAG,
        ),
        says_no=(404, 409, 413, 429),
    ),
    _ours(
        f"POST {_ONE}/resize",
        "Give its terminal another size.",
        object_of(delivered=FLAG),
        body=object_of(rows=_SIZE, cols=_SIZE),
        says_no=(404, 413),
    ),
    _ours(
        f"POST {_ONE}/wait-port",
        "Wait until it listens on a port.",
        object_of(ready=FLAG, ended=FLAG),
        body=object_of(
            needed=("port",),
            port={"type": "integer", "minimum": 1, "maximum": 65535},
            path=either({"type": "string", "pattern": "^/[!-~]*$"}),
        ),
        says_no=(404, 413),
    ),
    _ours("GET /v1/env", "The variables, masked.", ref("Variables")),
    _ours("PUT /v1/env", "Replace them.", ref("Variables"), **_SET),
    _ours("PATCH /v1/env", "Add to them.", ref("Variables"), **_SET),
    _ours(
        "DELETE /v1/env",
        "Forget one.",
        ref("Variables"),
        query={"name": NAME},
        needed=("name",),
        says_no=(507,),
    ),
    _ours("GET /v1/statistics", "Figures.", {"type": "object"}),
    _ours("POST /v1/pause", "Stop every command; it answers nobody.", object_of(paused=FLAG)),
    _ours("POST /v1/resume", "Let them go on.", object_of(paused=FLAG)),
]
