"""What both OpenAPI descriptions are made of: schemas of JSON, operations, the document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from hopx_async import __version__

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = [
    "ANY", "FLAG", "NAME", "NUMBER", "TEXT", "TIME", "WHOLE", "Operation", "Schema", "document",
    "either", "many", "mapping", "object_of", "one_of", "open_object", "printed", "ref",
]  # fmt: skip

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1}
TIME: Schema = {"type": "string", "format": "date-time"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}


def either(*schemas: Schema) -> Schema:
    """Return the schema of a value that may be each of these; none of them for null alone."""
    return {"anyOf": [*schemas, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def mapping(schema: Schema) -> Schema:
    """Return the schema of an object with any keys."""
    return {"type": "object", "additionalProperties": schema}


def one_of(*words: str) -> Schema:
    """Return the schema of one of these words."""
    return {"type": "string", "enum": list(words)}


def object_of(*, needed: Collection[str] | None = None, **properties: Schema) -> Schema:
    """Return the schema of an object with just these keys.

    Args:
        needed: Those that are always there; None for all of them.
        properties: Schemas by key.
    """
    required = sorted(properties if needed is None else needed)
    told: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**told, "required": required} if required else told


def open_object(*, needed: Collection[str] | None = None, **properties: Schema) -> Schema:
    """Return the schema of an object that may have other keys, too; see `object_of`."""
    return object_of(needed=needed, **properties) | {"additionalProperties": True}


def ref(name: str) -> Schema:
    """Return what stands for one of the document's named schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


@dataclass(frozen=True)
class Operation:
    """One route.

    Attributes:
        route: Method and path, as in the application.
        about: What it does, in a line.
        good: Schema of what it answers where all is well; None for no JSON, or never.
        status: The status of that; 501 where it never is.
        body: Schema of the JSON that is sent.
        form: Whether it is sent as a multipart form instead.
        query: Schemas of what may stand in the query.
        path: Schemas of what stands in the path, where they are no plain texts.
        needed: What must stand in the query.
        says_no: Statuses of its errors, besides those of all routes.
        media: The type of what it answers.
        is_open: Whether nobody needs a key.
        error: The schema of its errors.
        also: Another status where all is well.
    """

    route: str
    about: str
    good: Schema | None = None
    status: int = 200
    body: Schema | None = None
    form: bool = False
    query: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    path: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    needed: Collection[str] = ()
    says_no: Collection[int] = ()
    media: str = "application/json"
    is_open: bool = False
    error: str = "Error"
    also: int | None = None

    @property
    def method(self) -> str:
        """The method, as an OpenAPI key."""
        return self.route.partition(" ")[0].lower()

    @property
    def place(self) -> str:
        """The path."""
        return self.route.partition(" ")[2]

    def described(self, common: Iterable[int]) -> Schema:
        """Return it as OpenAPI has it; *common* are the statuses of errors of all routes."""
        told: Schema = {
            "summary": self.about,
            "operationId": re.sub(r"\W+", "_", self.route.lower()).strip("_"),
            "responses": self._answers(common),
        }
        if parameters := [*self._parameters()]:
            told["parameters"] = parameters
        if self.body is not None:
            media = "multipart/form-data" if self.form else "application/json"
            told["requestBody"] = {"content": {media: {"schema": self.body}}}
        if self.is_open:
            told["security"] = []
        return told

    def _answers(self, common: Iterable[int]) -> Schema:
        told: Schema = {}
        for status in (self.status, self.also):
            if status is None or status >= 400:
                continue
            told[str(status)] = {"description": HTTPStatus(status).phrase}
            if status not in {101, 204}:
                schema = {} if self.good is None else {"schema": self.good}
                told[str(status)]["content"] = {self.media: schema}
        refusals = {*common, *self.says_no, *([self.status] if self.status >= 400 else [])}
        if self.is_open:
            refusals.discard(401)
        for status in sorted(refusals):
            told[str(status)] = {"$ref": f"#/components/responses/{self.error}{status}"}
        return told

    def _parameters(self) -> Iterable[Schema]:
        for name in re.findall(r"{(\w+)", self.place):
            schema = self.path.get(name, NAME)
            yield {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in self.query.items():
            needed = {"required": True} if name in self.needed else {}
            yield {"name": name, "in": "query", **needed, "schema": schema}


def document(
    title: str,
    about: str,
    operations: Iterable[Operation],
    *,
    schemas: Mapping[str, Schema],
    security: Mapping[str, Schema],
    common: Iterable[int],
) -> Schema:
    """Return an OpenAPI document."""
    paths: Schema = {}
    common = tuple(common)
    for one in operations:
        path = re.sub(r"{(\w+):[^}]*}", r"{\1}", one.place)
        paths.setdefault(path, {})[one.method] = one.described(common)
    refusals = {
        f"{name}{status}": {
            "description": HTTPStatus(int(status)).phrase,
            "content": {"application/json": {"schema": _said(name, int(status), schemas)}},
        }
        for name, status in sorted(_refusals(paths))
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": __version__,
            "description": about,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(schemas),
            "responses": refusals,
            "securitySchemes": dict(security),
        },
        "security": [{name: []} for name in security],
    }


def _said(name: str, status: int, schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema of an error: bytes that are no request have no route, and one form."""
    if status == 400 and "OurError" in schemas:
        return {"anyOf": [ref(one) for one in dict.fromkeys((name, "OurError"))]}
    return ref(name)


def _refusals(paths: Schema) -> set[tuple[str, str]]:
    """Return names and statuses of all errors that these paths refer to."""
    found = re.findall(r'"#/components/responses/(\D+)(\d+)"', json.dumps(paths))
    return {(name, status) for name, status in found}


def printed(told: Schema) -> str:
    """Return a document as its file holds it."""
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"
