"""What a client asks to be run, in HopX's words, as a full spec of ours."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.dialect.paths import Places
from hopx_async.model import new_process_id
from hopx_async.protocol import lifecycle

__all__ = [
    "BACKGROUND_SECONDS",
    "CODE_SECONDS",
    "KIND",
    "LANGUAGE",
    "PREFIXES",
    "RUN_SECONDS",
    "Asks",
    "bare_id",
    "execution_id",
    "text_of",
]

#: Seconds that a command, a background command, and code have, where a request does not say.
RUN_SECONDS = 30.0
BACKGROUND_SECONDS = 300.0
CODE_SECONDS = 60.0
#: Tags by which the commands of these routes are told apart.
KIND = "hopx.kind"
LANGUAGE = "hopx.language"
#: What an id may begin with, in HopX's words.
PREFIXES = ("cmd_", "bg_", "proc_", "exec_")
# With one of these a command without arguments is meant for a shell.
_SHELL = re.compile(r"[\s|&;<>()$`\\\"'*?\[\]#~=%!{}]")
# What a terminal has until its client says otherwise.
_ROWS, _COLS = 24, 80
_GO = 'd=$(mktemp -d) && printf %s "$1" >"$d/main.go" && go run "$d/main.go"; s=$?; rm -r "$d"; '
_Body = dict[str, Any]


class Asks:
    """Makes specs from bodies.

    Args:
        places: Where ``/workspace`` is.
        path: Where programs are looked for, as in ``PATH``.
    """

    def __init__(self, places: Places, path: str) -> None:
        self._places = places
        self._path = path
        self._languages: Mapping[str, tuple[str, Callable[[str], list[str]]]] = {
            **dict.fromkeys(("python", "python3"), ("python", self._python)),
            **dict.fromkeys(("javascript", "js", "node", "nodejs"), ("javascript", self._node)),
            **dict.fromkeys(("bash", "sh", "shell"), ("bash", self._bash)),
            "go": ("go", self._go),
        }

    def command(self, body: _Body, kind: str, timeout: float = RUN_SECONDS) -> _Body:
        """Return the spec of a command.

        Raises:
            Refused: If something of it is missing or wrong.
        """
        text = _needed(body, "command")
        arguments = body.get("args")
        if arguments is not None and not _are_texts(arguments):
            raise _wrong("args", "a list of texts")
        if arguments:
            command = [text, *arguments]
        elif _SHELL.search(text):
            command = ["bash", "-c", text]
        else:
            command = [text]
        return self._spec(body, command, kind=kind, timeout=timeout, language="shell")

    def code(self, body: _Body, kind: str, timeout: float = CODE_SECONDS) -> _Body:
        """Return the spec of a program given as text: a child process, each time a fresh one.

        Raises:
            Refused: If something of it is missing or wrong, or its language is not here.
        """
        code = _needed(body, "code")
        asked = body.get("language")
        asked = "python" if asked is None else asked
        if not isinstance(asked, str) or asked.lower() not in self._languages:
            raise _wrong("language", "one of " + ", ".join(sorted(self._languages)))
        language, make = self._languages[asked.lower()]
        return self._spec(body, make(code), kind=kind, timeout=timeout, language=language)

    def terminal(self) -> _Body:
        """Return the spec of a shell in a terminal; it has no time limit.

        Raises:
            Refused: If there is no shell.
        """
        return {
            "process_id": new_process_id(),
            "command": [self._program("bash", "bash", "sh")],
            "env": {},
            "timeout": None,
            "name": "terminal",
            "tags": {KIND: "terminal", LANGUAGE: "shell"},
            "pty": [_ROWS, _COLS],
        }

    def languages(self) -> list[str]:
        """Return the languages that can be run here."""
        found = []
        for name, (language, make) in self._languages.items():
            try:
                make("")
            except Refused:
                continue
            if name == language:
                found.append(language)
        return found

    def _spec(
        self, body: _Body, command: list[str], *, kind: str, timeout: float, language: str
    ) -> _Body:
        name = body.get("name")
        prefix = "cmd_" if language == "shell" else "bg_"
        spec: _Body = {
            "process_id": prefix + new_process_id().removeprefix("cmd_"),
            "command": command,
            "env": _env(body.get("env")),
            "working_dir": self._working_dir(body),
            "timeout": _timeout(body.get("timeout"), timeout),
            "name": name or None,
            "tags": {KIND: kind, LANGUAGE: language},
        }
        problem = lifecycle.problem_with_spec(spec)
        if problem is not None:
            raise Refused("INVALID_REQUEST", str(problem))
        return spec

    def _working_dir(self, body: _Body) -> str | None:
        for key in ("workdir", "working_dir", "cwd"):
            value = body.get(key)
            if value is None:
                continue
            if not isinstance(value, str) or not value or "\0" in value:
                raise _wrong(key, "a directory")
            place = self._places.outside(value)
            with suppress(OSError, ValueError):  # a name that no directory can have
                if place.is_dir():
                    return str(place)
            message = f"{key}={value[:200]!r}: there is no such directory"
            raise Refused("DIRECTORY_NOT_FOUND", message)
        return None

    def _program(self, language: str, *names: str) -> str:
        for name in names:
            found = shutil.which(name, path=self._path)
            if found is not None:
                return found
        raise Refused("INVALID_REQUEST", f"{language} is not installed here")

    def _python(self, code: str) -> list[str]:
        # Unbuffered: what it prints is streamed as it is printed.
        return [self._program("python", "python3", "python"), "-u", "-c", code]

    def _node(self, code: str) -> list[str]:
        return [self._program("javascript", "node"), "-e", code]

    def _bash(self, code: str) -> list[str]:
        return [self._program("bash", "bash", "sh"), "-c", code]

    def _go(self, code: str) -> list[str]:
        self._program("go", "go")
        return ["bash", "-c", _GO + "exit $s", "go", code]


def text_of(command: object) -> str:
    """Return a command as people wrote it: a text for a shell, else the words of a line."""
    if isinstance(command, str):
        return command
    words = [str(word) for word in command] if isinstance(command, list) else []
    program = words[0].rpartition("/")[2] if words else ""
    shells = {"bash", "sh", "node", "python3", "python"}
    if program in shells and words[-2:-1] in (["-c"], ["-e"]):
        return words[-1]
    return shlex.join(words)


def bare_id(name: str) -> str:
    """Return an id without its prefix, whole if it has none."""
    return next((name[len(p) :] for p in PREFIXES if name.startswith(p)), name)


def execution_id(process_id: str) -> str:
    """Return the second name of a command."""
    return "exec_" + bare_id(process_id)


def _needed(body: _Body, key: str) -> str:
    value = body.get(key)
    if value is None or value == "":
        raise Refused("MISSING_PARAMETER", f"{key} is missing")
    if not isinstance(value, str):
        raise _wrong(key, "a text")
    return value


def _timeout(value: object, default: float) -> float:
    if value is None:
        return default
    problem = lifecycle.problem_with_spec({"process_id": "x", "command": "x", "timeout": value})
    if problem is not None:
        raise Refused("INVALID_REQUEST", str(problem))
    assert isinstance(value, (int, float))
    return float(value)


def _env(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not _are_texts(list(value.values())):
        raise _wrong("env", "it maps names to texts")
    return value


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _wrong(key: str, rule: str) -> Refused:
    return Refused("INVALID_REQUEST", f"{key}: {rule}")
