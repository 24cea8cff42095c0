"""A tool for an agent loop: a language model, here a scripted one, runs commands in a sandbox."""

import asyncio
import json
from typing import Any

import hopx_async as hopx

TOOL = {
    "type": "function",
    "function": {
        "name": "run",
        "description": "Run a shell command in the sandbox.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
    },
}
# What the model says in turn: calls of the tool, then an answer.
SCRIPT: list[dict[str, Any]] = [
    {"tool_calls": [{"id": "1", "function": {"name": "run", "arguments": command}}]}
    for command in (
        '{"command": "seq 1 5000 > numbers; echo saved"}',
        '{"command": "cat numbers; exit 1"}',
    )
] + [{"content": "The file has 5000 numbers."}]


async def model(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Stand for a call of a chat completion."""
    assert tools
    answered = sum(message["role"] == "assistant" for message in messages)
    return {"role": "assistant", **SCRIPT[answered]}


async def run(sandbox: hopx.Sandbox, command: str) -> str:
    """Carry out the tool: bounded in time and in what the model has to read."""
    result = await sandbox.commands.run(
        command, timeout=60, max_bytes=60, keep="head+tail", merge_stderr=True
    )
    return f"{result.stdout}\n[{result.exit}]"


async def main() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "How many numbers?"}]
    async with hopx.local() as sandbox:
        while True:
            message = await model(messages, [TOOL])
            messages.append(message)
            for call in message.get("tool_calls", ()):
                output = await run(sandbox, **json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
                print(output)
            if "tool_calls" not in message:
                print(message["content"])
                return


if __name__ == "__main__":
    asyncio.run(main())
