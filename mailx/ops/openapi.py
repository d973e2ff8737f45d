"""The admin API described in OpenAPI 3.1, from what the resources declare: what is checked is what is written."""

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from mailx import __version__
from mailx.ops.resources.shape import Schema, Shape, name

JSON: TypeAlias = Any

PREFIX = "/api"
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
PATH: Schema = name(320)  # what stands in a path: a name, an address, a queue id
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "remedy"],
            "additionalProperties": False,
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "remedy": {"type": "string"}},
        }
    },
}
_ERRORS = {
    "400": "The request is not JSON in UTF-8, or the body is no object.",
    "401": "The key is missing, unknown, expired or revoked.",
    "403": "The key has not the scope that this takes.",
    "404": "There is no such thing.",
    "405": "This path has no such method.",
    "409": "It exists already, or is in use.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "422": "A value is missing, too much, or cannot be used.",
    "500": "The request failed; the server's log knows why.",
    "503": "The store or the password threads cannot take it now; it may be tried again.",
}


def describe(routes: Iterable[tuple[str, str, str, Shape, str]]) -> JSON:
    """The description of ``routes``: (path, method, "resource.method", shape, scope)."""
    paths: dict[str, dict[str, JSON]] = {}
    for path, method, operation, shape, scope in routes:
        at = PREFIX + _PARAMETER.sub(r"{\1}", path)
        paths.setdefault(at, {})[method.lower()] = _operation(_PARAMETER.findall(path), operation, shape, scope)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MailX administration",
            "version": __version__,
            "description": "What mailxctl does, by HTTP. Every request brings an API key; each key has scopes.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "mailx_..."}},
            "schemas": {"Error": _ERROR},
            "responses": {status: _answer(text, {"$ref": "#/components/schemas/Error"}) for status, text in _ERRORS.items()},
        },
    }


def _operation(names: list[str], operation: str, shape: Shape, scope: str) -> JSON:
    described: dict[str, JSON] = {
        "operationId": operation.replace(".", "_"),
        "tags": [operation.partition(".")[0]],
        "summary": shape.summary,
        "description": f"Takes the scope `{scope}`.",
        "parameters": [
            *({"name": each, "in": "path", "required": True, "schema": PATH} for each in names),
            *({"name": each, "in": "query", "required": each in shape.needed, "schema": schema} for each, schema in shape.query.items()),
        ],
        "responses": {
            "200": _answer("Done.", shape.gives),
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
        },
    }
    if shape.body is not None:
        needed = bool(shape.body.get("required") or shape.body.get("minProperties"))
        described["requestBody"] = {"required": needed, "content": {"application/json": {"schema": shape.body}}}
    return described


def _answer(text: str, schema: Schema) -> JSON:
    return {"description": text, "content": {"application/json": {"schema": schema}}}
