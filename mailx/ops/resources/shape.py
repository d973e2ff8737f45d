"""What a method of a resource takes and gives, declared where it stands: the API checks requests by it and describes itself with it.

``@shaped`` holds JSON Schemas of a small part of that language (the one that :func:`problem` reads). A request that does not
fit is refused before the method runs, so that the description is true.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from attrs import Factory, frozen

JSON: TypeAlias = Any
Schema: TypeAlias = dict[str, JSON]
_Method = TypeVar("_Method", bound=Callable[..., Any])

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


@frozen
class Shape:
    """``query``: the parameters of the query string by name; ``body``: None where there is none."""

    summary: str = ""
    action: str = ""  # what the audit log calls it; "" for what changes nothing
    part: str = ""  # the act, begun by another method, that its calls belong to: the audit log has that one
    query: Mapping[str, Schema] = Factory(dict)
    needed: tuple[str, ...] = ()  # of the query
    body: Schema | None = None
    gives: Schema = Factory(lambda: {"type": "object"})
    strict: bool = True  # whether what is not declared is refused


def shaped(
    summary: str = "",
    *,
    action: str = "",
    part: str = "",
    query: Mapping[str, Schema] | None = None,
    needed: tuple[str, ...] = (),
    body: Schema | None = None,
    gives: Schema | None = None,
) -> Callable[[_Method], _Method]:
    """Declare a method of a resource. ``action`` makes its calls acts of the audit log, ``part`` says to which act they belong."""

    def mark(method: _Method) -> _Method:
        method.shape = Shape(summary, action, part, query or {}, needed, body, gives or {"type": "object"})  # type: ignore[attr-defined]
        return method

    return mark


def shape_of(method: Any, resource: str, writes: bool) -> Shape:
    """The shape of a method; one that declares none takes anything, and is an act named after itself if it changes something."""
    declared: Shape | None = getattr(method, "shape", None)
    if declared is not None:
        return declared
    summary = (method.__doc__ or method.__name__).strip().partition("\n")[0]
    body = {"type": "object"} if writes else None
    return Shape(summary, f"{resource}.{method.__name__}" if writes else "", body=body, strict=False)


# Schemas


def text(limit: int = 1000, least: int = 0, **more: JSON) -> Schema:
    """A text."""
    return {"type": "string", "minLength": least, "maxLength": limit, **more}


def name(limit: int = 320) -> Schema:
    """A text that is not empty and has no control characters: names and addresses."""
    return text(limit, 1, pattern=r"^[^\u0000-\u001f\u007f\ud800-\udfff]+$")


def one_of(*values: str) -> Schema:
    """One of these texts."""
    return {"type": "string", "enum": list(values)}


def list_of(item: Schema, most: int | None = None, least: int = 0) -> Schema:
    """A list."""
    return {"type": "array", "items": item, "minItems": least, **({} if most is None else {"maxItems": most})}


def record(needed: Mapping[str, Schema] | None = None, **optional: Schema) -> Schema:
    """An object with these members and no others."""
    members = {**(needed or {}), **optional}
    return {"type": "object", "properties": members, "required": sorted(needed or {}), "additionalProperties": False}


def optional(schema: Schema) -> Schema:
    """What may be null."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"], **({"enum": [*schema["enum"], None]} if "enum" in schema else {})}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
NUMERAL: Schema = {"type": "string", "pattern": "^[0-9]{1,18}$"}  # a number of the query string
NOTHING: Schema = record()


def problem(schema: Schema, value: JSON, where: str = "") -> str:
    """What keeps ``value`` from fitting ``schema``, in words; "" when nothing does. ``where`` names the value."""
    said = where or "the body"
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return f"{said} must be {_said(kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{said} must be one of {', '.join(str(each) for each in schema['enum'] if each is not None)}"
    if isinstance(value, str):
        return _text_problem(schema, value, said)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return f"{said} is out of range"
    if isinstance(value, list):
        return _list_problem(schema, value, said)
    if isinstance(value, dict) and "properties" in schema:
        return _members_problem(schema, value, where)
    return ""


def _text_problem(schema: Schema, value: str, said: str) -> str:
    if len(value) < schema.get("minLength", 0):
        return f"{said} is empty" if not value else f"{said} is too short"
    if len(value) > schema.get("maxLength", len(value)):
        return f"{said} is longer than {schema['maxLength']} characters"
    if "pattern" in schema and not _compiled(schema["pattern"]).search(value):
        return f"{said} has not the form that is asked for"
    return ""


def _list_problem(schema: Schema, value: list[JSON], said: str) -> str:
    if len(value) > schema.get("maxItems", len(value)):
        return f"{said} has more than {schema['maxItems']} items"
    if len(value) < schema.get("minItems", 0):
        return f"{said} is empty"
    problems = (problem(schema["items"], each, f"each of {said}") for each in value if "items" in schema)
    return next((found for found in problems if found), "")


def _members_problem(schema: Schema, value: dict[str, JSON], where: str) -> str:
    members = schema["properties"]
    if len(value) < schema.get("minProperties", 0):
        return "nothing was given"
    if len(value) > schema.get("maxProperties", len(value)):
        return f"only {schema['maxProperties']} may be given at a time"
    for key in schema.get("required", ()):
        if key not in value:
            return f"{where}{'.' if where else ''}{key} is missing"
    for key, each in value.items():
        if key not in members:
            if schema.get("additionalProperties", True) is False:
                return f"there is no {key[:50] if key.isprintable() else 'such member'} here"
            continue
        found = problem(members[key], each, f"{where}{'.' if where else ''}{key}")
        if found:
            return found
    return ""


def _is(value: JSON, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _said(kinds: str | list[str]) -> str:
    words = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    words |= {"object": "an object", "array": "a list", "null": "null"}
    return " or ".join(words[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
