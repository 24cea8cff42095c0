"""Print ``docs/reference/openapi-agent.json``: every route of an agent, HopX's and ours.

``tests/test_openapi.py`` compares what this prints with the file. Run it as
``python -m tools.openapi_agent > docs/reference/openapi-agent.json``.
"""

from __future__ import annotations

from typing import Any

from tools.openapi_link import OUR_OPERATIONS, OUR_SCHEMAS
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

__all__ = ["agent_document"]

_ABOUT = (
    "The agent of one sandbox. The routes below /v1, /health and /info are our own, the others"
    " HopX's, with their own form of errors. Websockets are told as GET with 101."
)
_STATUS = one_of("queued", "running", "completed", "failed", "killed")
_SECONDS: Schema = {"type": "number", "exclusiveMinimum": 0}
_ENV = either(mapping(TEXT))
_DIRECTORY = either(NAME)
_OFTEN = (413, 429, 507)


def _asked(**properties: Schema) -> Schema:
    """Return the schema of a body that runs something; the first of its keys is needed."""
    more = dict.fromkeys(("workdir", "working_dir", "cwd"), _DIRECTORY)
    return open_object(
        needed=[next(iter(properties))],
        **properties,
        timeout=either(_SECONDS),
        env=_ENV,
        name=either(TEXT),
        **more,
    )


_ENDED: dict[str, Schema] = {
    **dict.fromkeys(("stdout", "stderr", "process_id"), TEXT),
    **dict.fromkeys(("exit_code", "pid"), WHOLE),
    **dict.fromkeys(("success", "timed_out", "stdout_truncated", "stderr_truncated"), FLAG),
    "execution_time": NUMBER,
    "signal": either(TEXT),
    "timestamp": TIME,
}
_ROW: dict[str, Schema] = {
    **dict.fromkeys(("process_id", "processId", "execution_id", "name", "command"), TEXT),
    **dict.fromkeys(("language", "workdir", "stdout", "stderr", "user"), TEXT),
    "pid": WHOLE,
    "status": _STATUS,
    "exit_code": either(WHOLE),
    **dict.fromkeys(("timed_out", "stdout_truncated", "stderr_truncated"), FLAG),
    **dict.fromkeys(("signal", "reason"), either(TEXT)),
    **dict.fromkeys(("start_time", "started_at"), TIME),
    **dict.fromkeys(("end_time", "completed_at"), either(TIME)),
    **dict.fromkeys(("duration", "execution_time", "cpu_percent", "memory_mb"), NUMBER),
    "timeout": either(NUMBER),
}
_SYSTEM_ROW: dict[str, Schema] = {
    "pid": WHOLE,
    **dict.fromkeys(("name", "command", "user", "status"), TEXT),
    **dict.fromkeys(("cpu_percent", "memory_mb"), NUMBER),
}
_ENTRY: dict[str, Schema] = {
    **dict.fromkeys(("name", "path", "permissions", "mode"), TEXT),
    "size": WHOLE,
    **dict.fromkeys(("is_directory", "is_dir"), FLAG),
    **dict.fromkeys(("modified_time", "modified"), TIME),
}


def _rows(schema: Schema) -> Schema:
    return object_of(processes=many(schema), count=WHOLE, timestamp=TIME)


_SCHEMAS: dict[str, Schema] = {
    "Command": _asked(command=NAME, args=either(many(TEXT))),
    "Code": _asked(code=NAME, language=either(TEXT)),
    "CommandResult": object_of(**_ENDED, command=TEXT),
    "CodeResult": object_of(**_ENDED, language=TEXT),
    "Begun": object_of(
        **dict.fromkeys(("process_id", "processId", "execution_id", "name", "command"), TEXT),
        **dict.fromkeys(("language", "message"), TEXT),
        status=one_of("running", "failed"),
        success=FLAG,
        pid=WHOLE,
        timeout=NUMBER,
        **dict.fromkeys(("start_time", "started_at", "timestamp"), TIME),
    ),
    "Row": object_of(**_ROW),
    "SystemRow": object_of(**_SYSTEM_ROW),
    "Which": open_object(
        needed=(),
        **dict.fromkeys(("process_id", "processId", "execution_id"), either(TEXT)),
    ),
    "Killed": object_of(
        **dict.fromkeys(("process_id", "processId", "message"), TEXT),
        status=_STATUS,
        success=FLAG,
        timestamp=TIME,
    ),
    "Env": object_of(env_vars=mapping(TEXT), count=WHOLE, success=FLAG, timestamp=TIME),
    "SetEnv": open_object(env_vars=mapping(TEXT)),
    "Text": object_of(content=TEXT, path=TEXT, size=WHOLE),
    "Entry": object_of(**_ENTRY),
    "Directory": object_of(files=many(ref("Entry")), path=TEXT, count=WHOLE, next=either(TEXT)),
    "Exists": object_of(exists=FLAG, path=TEXT),
    "Done": object_of(path=TEXT, size=WHOLE, message=TEXT, success=FLAG, timestamp=TIME),
    "Write": open_object(
        needed=("path", "content"),
        path=NAME,
        content=TEXT,
        encoding={"enum": ["base64", "utf-8", "utf8", "text", "", None]},
        mode=either({"type": "string", "pattern": "^[0-7]{1,3}$"}),
        overwrite=FLAG,
    ),
    "Upload": object_of(needed=("file",), path=NAME, file={"type": "string", "format": "binary"}),
    "Health": object_of(
        status=one_of("healthy"),
        **dict.fromkeys(("agent", "version", "vm_id", "uptime"), TEXT),
        features=mapping(ANY),
        active_streams=WHOLE,
    ),
    "Info": {"type": "object", "required": ["agent", "version", "link_version", "capabilities"]},
    "What": object_of(**dict.fromkeys(("agent", "status", "version"), TEXT)),
    "Ping": object_of(status=TEXT, message=TEXT, timestamp=TIME),
    "System": object_of(
        **dict.fromkeys(("os", "hardware", "network", "environment"), mapping(ANY)),
        capabilities=many(TEXT),
        timestamp=TIME,
    ),
    "Metrics": object_of(
        uptime_seconds=NUMBER,
        **dict.fromkeys(("total_requests", "total_errors", "error_count"), WHOLE),
        **dict.fromkeys(("total_executions", "active_executions"), WHOLE),
        **dict.fromkeys(("requests_total", "avg_duration_ms"), mapping(NUMBER)),
        timestamp=TIME,
    ),
    "Sessions": object_of(sessions=many(ANY), count=WHOLE, timestamp=TIME),
    "Cache": object_of(cache=mapping(WHOLE), timestamp=TIME),
    "Cleared": object_of(message=TEXT, entries_removed=WHOLE, timestamp=TIME),
    "Error": object_of(
        needed=("error", "message", "code", "request_id", "timestamp", "path", "details"),
        **dict.fromkeys(("error", "message", "code", "request_id", "path"), TEXT),
        timestamp=TIME,
        details=mapping(ANY),
        retry_after=NUMBER,
    ),
    **OUR_SCHEMAS,
}


def _kill(route: str, *, body: bool) -> Operation:
    query = {} if "{" in route else {"process_id": TEXT}
    return Operation(
        route,
        "End a command and all that it started.",
        ref("Killed"),
        body=ref("Which") if body else None,
        query=query,
        says_no=(404, 409, 413),
    )


def _socket(path: str, about: str) -> Operation:
    return Operation(f"GET {path}", about, status=101, says_no=(429,))


def _file(route: str, about: str, good: str, *says_no: int, **more: Any) -> Operation:
    query: dict[str, Schema] = more.pop("query", {"path": NAME})
    needed = [name for name in query if name == "path"]
    return Operation(route, about, ref(good), query=query, needed=needed, says_no=says_no, **more)


_OPERATIONS = [
    Operation("GET /", "What this is.", ref("What"), is_open=True),
    Operation("GET /ping", "Whether it answers.", ref("Ping"), is_open=True),
    Operation("GET /health", "Whether it is ready.", ref("Health"), is_open=True, error="OurError"),
    Operation("GET /info", "What it can do.", ref("Info"), is_open=True, error="OurError"),
    Operation("GET /system", "What it runs on.", ref("System")),
    *(
        Operation(f"GET {path}", "Figures.", ref("Metrics"))
        for path in ("/metrics", "/metrics/snapshot")
    ),
    Operation("GET /metrics/prometheus", "Figures for Prometheus.", TEXT, media="text/plain"),
    Operation(
        "POST /commands/run",
        "Run a command to its end.",
        ref("CommandResult"),
        body=ref("Command"),
        says_no=_OFTEN,
    ),
    Operation(
        "POST /commands/background",
        "Start a command.",
        ref("Begun"),
        body=ref("Command"),
        says_no=_OFTEN,
    ),
    Operation(
        "POST /execute",
        "Run code to its end.",
        ref("CodeResult"),
        body=ref("Code"),
        says_no=_OFTEN,
    ),
    Operation(
        "POST /execute/background",
        "Start code.",
        ref("Begun"),
        body=ref("Code"),
        says_no=_OFTEN,
    ),
    *(
        Operation(f"POST /execute/{what}", "Refused: code is a plain child process.", status=501)
        for what in ("async", "ipython", "rich")
    ),
    _socket("/commands/stream", "Run commands, streamed."),
    _socket("/execute/stream", "Run code, streamed."),
    _socket("/stream", "Run code, streamed."),
    _socket("/terminal", "A shell in a terminal."),
    _socket("/files/watch", "Changes of files."),
    Operation("GET /execute/processes", "The rows of all commands.", _rows(ref("Row"))),
    Operation(
        "GET /processes",
        "These rows, then the machine's other processes.",
        _rows({"anyOf": [ref("Row"), ref("SystemRow")]}),
        says_no=(501,),
    ),
    _kill("POST /execute/kill", body=True),
    _kill("DELETE /execute/kill", body=True),
    *(
        _kill(f"{route}", body=False)
        for route in (
            "POST /execute/kill/{process_id}",
            "DELETE /execute/kill/{process_id}",
            "POST /processes/{process_id}/kill",
        )
    ),
    Operation("GET /env", "The variables, secret ones masked.", ref("Env")),
    Operation("PUT /env", "Replace them.", ref("Env"), body=ref("SetEnv"), says_no=(413, 507)),
    Operation("PATCH /env", "Add to them.", ref("Env"), body=ref("SetEnv"), says_no=(413, 507)),
    Operation("DELETE /env", "Forget them.", ref("Env"), says_no=(507,)),
    Operation("DELETE /env/{name}", "Forget one.", ref("Env"), says_no=(507,)),
    _file("GET /files/read", "A file as text.", "Text", 404, 413),
    Operation(
        "GET /files/download",
        "A file as it is.",
        {"type": "string", "format": "binary"},
        query={"path": NAME},
        needed=("path",),
        media="application/octet-stream",
        says_no=(404,),
    ),
    Operation(
        "GET /files/list",
        "A page of a directory.",
        ref("Directory"),
        query={"path": TEXT, "after": {"type": "string", "pattern": "^([0-9a-f]{2})*$"}},
        says_no=(404,),
    ),
    _file("GET /files/exists", "Whether there is something.", "Exists"),
    _file("DELETE /files/remove", "Remove a file or directory.", "Done", 404),
    _file("POST /files/write", "Make a file.", "Done", 409, 413, 507, query={}, body=ref("Write")),
    _file(
        "POST /files/mkdir",
        "Make a directory.",
        "Done",
        409,
        413,
        507,
        query={},
        body=open_object(path=NAME),
    ),
    Operation(
        "POST /files/upload",
        "Make a file of a multipart body.",
        ref("Done"),
        query={"path": TEXT},
        body=ref("Upload"),
        form=True,
        says_no=(404, 413, 507),
    ),
    *(
        Operation(f"GET /jupyter/{what}", "None: there is no Jupyter.", ref("Sessions"))
        for what in ("sessions", "status")
    ),
    Operation("GET /cache/stats", "Nothing: there is no cache.", ref("Cache")),
    Operation("POST /cache/clear", "Clear it.", ref("Cleared")),
    *(
        Operation(f"{method} /desktop/{{rest}}", "Refused: there is no desktop.", status=501)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
    *OUR_OPERATIONS,
]


def agent_document() -> dict[str, Any]:
    """Return the document."""
    return document(
        "The agent of a hopx_async sandbox",
        _ABOUT,
        _OPERATIONS,
        schemas=_SCHEMAS,
        security={"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        common=(400, 401, 403, 503),
    )


if __name__ == "__main__":
    print(printed(agent_document()), end="")
