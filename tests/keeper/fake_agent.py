"""A program in the agent's place: keeps the agreement with the root, relays to the keeper.

``fake_agent.py MODE --listen-fd N --root-fd N --keeper-fd N``; the mode is ``good``, ``mute``
(ready, then silent) or ``crash``. Each connection sends one JSON line and gets one back:
the keeper's answer to it, or, for ``{"op": "who"}``, pid and configuration.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
from typing import Any

_Message = dict[str, Any]


def _lines(sock: socket.socket, rest: bytearray) -> list[_Message]:
    data = sock.recv(1 << 20)
    if not data:
        sys.exit(0)
    rest += data
    *lines, last = bytes(rest).split(b"\n")
    rest[:] = last
    return [json.loads(line) for line in lines]


class _FakeAgent:
    def __init__(self, mode: str, listen: int, root: int, keeper: int) -> None:
        self._mode = mode
        self._listen = socket.socket(fileno=listen)
        self._root = socket.socket(fileno=root)
        self._keeper = socket.socket(fileno=keeper)
        self._rests: dict[socket.socket, bytearray] = {}
        self._asking: dict[int, socket.socket] = {}
        self._config: _Message = {}

    def run(self) -> None:
        while True:
            sources = [self._listen, self._root, self._keeper]
            readable, _, _ = select.select(sources, [], [])
            if self._root in readable:
                for message in self._read(self._root):
                    self._from_root(message)
            if self._keeper in readable:
                for message in self._read(self._keeper):
                    self._from_keeper(message)
            if self._listen in readable:
                self._serve(self._listen.accept()[0])

    def _read(self, sock: socket.socket) -> list[_Message]:
        return _lines(sock, self._rests.setdefault(sock, bytearray()))

    def _from_root(self, message: _Message) -> None:
        if message["op"] == "config":
            self._config = message
        elif message["op"] == "stop":
            sys.exit(0)
        elif message["op"] == "ping" and self._mode != "mute":
            self._root.sendall(json.dumps({"op": "pong", "n": message["n"]}).encode() + b"\n")

    def _from_keeper(self, message: _Message) -> None:
        if message.get("ready"):
            self._root.sendall(b'{"op":"ready"}\n')
        elif "re" in message:
            self._answer(self._asking.pop(message["re"]), message)

    def _serve(self, connection: socket.socket) -> None:
        asked = json.loads(connection.makefile("rb").readline())
        if asked["op"] == "who":
            facts = {"pid": os.getpid(), "config": self._config, "env": dict(os.environ)}
            self._answer(connection, facts)
        else:
            self._asking[asked["rid"]] = connection
            self._keeper.sendall(json.dumps(asked).encode() + b"\n")

    def _answer(self, connection: socket.socket, message: _Message) -> None:
        connection.sendall(json.dumps(message).encode() + b"\n")
        connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "crash":
        sys.exit(3)
    numbers = dict(zip(sys.argv[2::2], map(int, sys.argv[3::2]), strict=True))
    fds = (numbers["--listen-fd"], numbers["--root-fd"], numbers["--keeper-fd"])
    _FakeAgent(sys.argv[1], *fds).run()
