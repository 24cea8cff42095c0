"""What a file of ``assert_type`` looks at: pairs of a class and one of its members.

No type checker is needed: the file says itself what its names are, by the annotations of its
functions, by ``assert_type`` and by ``isinstance``, and the type checkers hold it to that.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["exercised", "members", "names_used"]

# Iterating, entering and awaiting, as they are spelt in a program.
_BUILTINS = {"anext": "__anext__", "next": "__next__"}
_PROTOCOLS = ("__anext__", "__next__", "__aenter__", "__enter__", "__await__")
_CLASS = re.compile(r"(\w+\.)?[A-Z]\w*")


def names_used(source: str) -> set[str]:
    """Return the last part of every dotted name, and every plain name, of a program."""
    nodes = list(ast.walk(ast.parse(source)))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes if isinstance(node, ast.Name)
    }


def members(kind: type) -> set[str]:
    """Return what a class offers: methods, attributes, and whether it can be iterated or entered.

    What ``object`` and Python's exceptions have does not count; neither does a protocol that a
    base of Python's brings without a method of ours.
    """
    found = {
        name for name in dir(kind) if not name.startswith("_") and not hasattr(BaseException, name)
    }
    for base in kind.__mro__:
        if base.__module__.startswith("hopx_async"):
            found |= {name for name in _annotations(base) if not name.startswith("_")}
            found |= {name for name in _PROTOCOLS if name in vars(base)}
            told = (base.__doc__ or "").partition("Attributes:\n")[2]
            found |= set(re.findall(r"^ {8}(\w+):", told, re.MULTILINE))
    return found


def _annotations(kind: type) -> dict[str, Any]:
    return dict(inspect.get_annotations(kind))


@functools.cache
def exercised(source: str) -> frozenset[tuple[str, str]]:
    """Return the pairs of class and member whose type a program asserts.

    Classes are named without their module: ``hopx.Exit`` and ``Exit`` are one.
    """
    found: set[tuple[str, str]] = set()
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found |= _Looker(node).found
    return frozenset(found)


class _Looker:
    """Goes through one function."""

    def __init__(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.found: set[tuple[str, str]] = set()
        self._kinds: dict[str, str] = {}
        arguments = function.args
        for argument in [*arguments.args, *arguments.kwonlyargs]:
            self._learn(argument.arg, argument.annotation)
        for node in ast.walk(function):
            asserted = _arguments_of(node, "assert_type")
            if asserted:
                self._learn(ast.unparse(asserted[0]), asserted[1])
        self._look(function.body, {})

    def _learn(self, text: str, annotation: ast.expr | None) -> None:
        if annotation is not None and (kind := _class_named(annotation)):
            self._kinds[text] = kind

    def _look(self, body: list[ast.stmt], narrowed: dict[str, str]) -> None:
        for statement in body:
            inside = dict(narrowed)
            if isinstance(statement, ast.If):
                inside |= _narrowing(statement.test)
                self._look(statement.orelse, narrowed)
            elif isinstance(statement, (ast.With, ast.AsyncWith)):
                word = "__aenter__" if isinstance(statement, ast.AsyncWith) else "__enter__"
                for item in statement.items:
                    self._protocol(item.context_expr, word, narrowed)
            elif isinstance(statement, (ast.For, ast.AsyncFor)):
                word = "__anext__" if isinstance(statement, ast.AsyncFor) else "__next__"
                self._protocol(statement.iter, word, narrowed)
            elif isinstance(statement, ast.Match):
                for case in statement.cases:
                    self._pattern(case.pattern)
                    self._look(case.body, narrowed)
            for expression in _own_expressions(statement):
                self._expression(expression, narrowed)
            self._look(getattr(statement, "body", []), inside)

    def _expression(self, expression: ast.expr, narrowed: dict[str, str]) -> None:
        for node in ast.walk(expression):
            asserted = _arguments_of(node, "assert_type")
            for part in ast.walk(asserted[0]) if asserted else ():
                if isinstance(part, ast.Attribute):
                    self._note(part.value, part.attr, narrowed)
                elif isinstance(part, ast.Await):
                    self._protocol(part.value, "__await__", narrowed)
                for name, word in _BUILTINS.items():
                    for argument in _arguments_of(part, name)[:1]:
                        self._protocol(argument, word, narrowed)

    def _protocol(self, expression: ast.expr, word: str, narrowed: dict[str, str]) -> None:
        self._note(expression, word, narrowed)
        if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute):
            self._note(expression.func.value, expression.func.attr, narrowed)

    def _note(self, owner: ast.expr, member: str, narrowed: dict[str, str]) -> None:
        text = ast.unparse(owner)
        kind = narrowed.get(text) or self._kinds.get(text)
        if kind is None and _CLASS.fullmatch(text):
            kind = text.rpartition(".")[2]  # the class itself: what makes one of something else
        if kind is not None:
            self.found.add((kind, member))

    def _pattern(self, pattern: ast.pattern) -> None:
        for part in ast.walk(pattern):
            if isinstance(part, ast.MatchClass):
                kind = ast.unparse(part.cls).rpartition(".")[2]
                self.found |= {(kind, name) for name in part.kwd_attrs}


def _own_expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    for _, value in ast.iter_fields(statement):
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.expr):
                yield node


def _narrowing(test: ast.expr) -> dict[str, str]:
    arguments = _arguments_of(test, "isinstance")
    if not arguments or isinstance(arguments[1], ast.Tuple):
        return {}
    return {ast.unparse(arguments[0]): ast.unparse(arguments[1]).rpartition(".")[2]}


def _arguments_of(node: ast.AST, name: str) -> list[ast.expr]:
    """Return the arguments of a call of the function *name*, nothing of anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
        return node.args
    return []


def _class_named(annotation: ast.expr) -> str:
    """Return the class that an annotation names; of a generic one, the class itself."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return ast.unparse(annotation).rpartition(".")[2]
