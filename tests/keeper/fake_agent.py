"""A program in the agent's place: keeps the agreement with the root, relays to the keeper.

``fake_agent.py MODE --listen-fd N --root-fd N``; the mode is ``good``, ``mute``
(ready, then silent) or ``crash``. Each connection sends one JSON line and gets one back:
the answer of the keeper ``to`` (1) to it, or, for ``{"op": "who"}``, pid, configuration and
keepers, or nothing for ``{"op": "more"}`` (more keepers).
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from typing import Any

_Message = dict[str, Any]


def _lines(sock: socket.socket, rest: bytearray, fds: list[int]) -> list[_Message] | None:
    data, came, _, _ = socket.recv_fds(sock, 1 << 20, 8)
    fds += came
    if not data:
        return None
    rest += data
    *lines, last = bytes(rest).split(b"\n")
    rest[:] = last
    return [json.loads(line) for line in lines]


class _FakeAgent:
    def __init__(self, mode: str, listen: int, root: int) -> None:
        self._mode = mode
        self._listen = socket.socket(fileno=listen)
        self._root = socket.socket(fileno=root)
        self._keepers: dict[int, socket.socket] = {}
        self._facts: list[_Message] = []
        self._fds: list[int] = []
        self._rests: dict[socket.socket, bytearray] = {}
        self._asking: dict[int, socket.socket] = {}
        self._config: _Message = {}

    def run(self) -> None:
        while True:
            sources = [self._listen, self._root, *self._keepers.values()]
            readable, _, _ = select.select(sources, [], [])
            if self._root in readable:
                for message in self._read(self._root):
                    self._from_root(message)
            for number, keeper in list(self._keepers.items()):
                if keeper in readable:
                    self._from_keeper(number, keeper)
            if self._listen in readable:
                self._serve(self._listen.accept()[0])

    def _read(self, sock: socket.socket) -> list[_Message]:
        messages = _lines(sock, self._rests.setdefault(sock, bytearray()), self._fds)
        if messages is None:
            sys.exit(0)
        return messages

    def _from_root(self, message: _Message) -> None:
        if message["op"] == "config":
            self._config = message
        elif message["op"] == "keeper":
            self._keepers[message["number"]] = socket.socket(fileno=self._fds.pop(0))
        elif message["op"] == "keepers":
            self._facts = message["keepers"]
        elif message["op"] == "stop":
            sys.exit(0)
        elif message["op"] == "ping" and self._mode != "mute":
            self._root.sendall(json.dumps({"op": "pong", "n": message["n"]}).encode() + b"\n")

    def _from_keeper(self, number: int, keeper: socket.socket) -> None:
        messages = _lines(keeper, self._rests.setdefault(keeper, bytearray()), [])
        if messages is None:
            del self._keepers[number]
        for message in messages or []:
            self._take(message)

    def _take(self, message: _Message) -> None:
        if message.get("ready"):
            self._root.sendall(b'{"op":"ready"}\n')
        elif "re" in message:
            self._answer(self._asking.pop(message["re"]), message)

    def _serve(self, connection: socket.socket) -> None:
        asked = json.loads(connection.makefile("rb").readline())
        if asked["op"] == "who":
            facts = {"pid": os.getpid(), "config": self._config, "env": dict(os.environ)}
            self._answer(connection, {**facts, "keepers": self._facts})
        elif asked["op"] == "more":
            self._root.sendall(json.dumps(asked).encode() + b"\n")
            self._answer(connection, {})
        else:
            self._asking[asked["rid"]] = connection
            self._keepers[asked.pop("to", 1)].sendall(json.dumps(asked).encode() + b"\n")

    def _answer(self, connection: socket.socket, message: _Message) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")
        connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "crash":
        sys.exit(3)
    numbers = dict(zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True))
    _FakeAgent(sys.argv[1], numbers["--listen-fd"], numbers["--root-fd"]).run()
