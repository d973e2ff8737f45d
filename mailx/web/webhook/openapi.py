"""The description of the receiver as OpenAPI 3.1, made from the rules that it keeps."""

from functools import lru_cache
from typing import Any

from mailx import __version__
from mailx.mail import compose
from mailx.web.webhook import schema

_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_LINES = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$"
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_SAID = rf"^[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*$"  # a line that says something
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = rf"{_ATOM}(\.{_ATOM})*"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"({_LABEL}\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?"
_WEB = rf"^https?://{_HOST}(:[1-9][0-9]{{0,3}})?(/[A-Za-z0-9._~/?=&%+,;:-]*)?$"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_MEDIA = r"^(application|audio|chemical|font|image|model|text|video)/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$"
_ID = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+(@[A-Za-z0-9.-]+)?$"
_FILE = rf"^[^{_CONTROL}/\\:]*[^{_CONTROL}/\\:\s.][^{_CONTROL}/\\:]*$"
_JSON = "application/json"


@lru_cache(maxsize=8)
def description(prefix: str) -> dict[str, Any]:
    """The description for headers that begin with ``prefix``."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "MailX webhook receiver", "version": __version__, "description": "Programs post JSON, mail goes out."},
        "paths": {
            "/webhook/outbound-email": {"post": _post(prefix)},
            "/webhook/outbound-email/{queued_id}": {"get": _status(prefix)},
            "/healthz": {
                "get": _plain("health", "Whether the receiver answers", {"type": "object", "properties": {"ok": {"const": True}}})
            },
            "/openapi.json": {"get": _plain("description", "This description", {"type": "object"})},
        },
        "components": {"schemas": {"Call": _call(), "Accepted": _accepted(), "Error": _error(), "Status": _progress()}},
    }


def _line(limit: int, **more: Any) -> dict[str, Any]:
    return {"type": "string", "maxLength": limit, **({} if "pattern" in more else {"pattern": _LINE}), **more}


def _nullable(limit: int, **more: Any) -> dict[str, Any]:
    return {**_line(limit, **more), "type": ["string", "null"]}


def _call() -> dict[str, Any]:
    common = {
        "to": _line(schema.ADDRESS, minLength=1, format="email", description="One mail address."),
        "subject": _line(schema.SUBJECT, pattern=_SAID),
        "fromLocalPart": _nullable(
            schema.LOCAL, pattern=f"^{_LOCAL}$", description="What stands before the @ of the sender, where the server allows it."
        ),
        "callbackUrl": _nullable(schema.URL, pattern=_WEB, description="Where the fate of the message is posted to."),
    }
    tokens = {
        "token": _line(schema.TOKEN, pattern=_SAID, description="One-time token."),
        "expiresAt": _line(
            64, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T", format="date-time", description="ISO 8601; UTC where it names no zone."
        ),
        "link": _nullable(schema.URL, pattern=_WEB, description="An http or https URL."),
    }
    text = {"type": ["string", "null"], "maxLength": schema.TEXT, "pattern": _LINES}
    message = {
        "fromName": _nullable(schema.NAME),
        "replyTo": _nullable(schema.ADDRESS, format="email"),
        "text": text,
        "html": text,
        "attachments": {"type": ["array", "null"], "maxItems": schema.ATTACHMENTS, "items": _attachment()},
    }
    templated = {"type": {"enum": [schema.VERIFICATION, schema.RESET]}, **common, **tokens}
    return {
        "oneOf": [
            {"type": "object", "required": ["type", "to", "subject", "token", "expiresAt"], "properties": templated},
            {
                "type": "object",
                "required": ["type", "to", "subject"],
                "properties": {"type": {"const": schema.MESSAGE}, **common, **message},
                "anyOf": [{"required": [name], "properties": {name: {"type": "string", "minLength": 1}}} for name in ("text", "html")],
            },
        ]
    }


def _attachment() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["filename", "content"],
        "properties": {
            "filename": _line(schema.NAME, pattern=_FILE, description="A name, not a path."),
            "contentType": _nullable(compose.TYPE_LIMIT, pattern=_MEDIA, description="A media type; application/octet-stream without."),
            "content": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
            "contentId": _nullable(compose.ID_LIMIT, pattern=_ID, description="By which HTML shows it: cid:ID."),
            "inline": {"type": "boolean", "default": False},
        },
    }


def _accepted() -> dict[str, Any]:
    names = ["ok", "to", "subject", "queued_id", "queued_at"]
    return {
        "type": "object",
        "required": names,
        "properties": {
            "ok": {"const": True},
            "to": {"type": "string"},
            "subject": {"type": "string"},
            "queued_id": {"type": "integer"},
            "queued_at": {"type": "string", "format": "date-time"},
        },
    }


def _error() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["ok", "error"],
        "properties": {"ok": {"const": False}, "error": {"type": "string"}, "field": {"type": "string"}},
    }


def _progress() -> dict[str, Any]:
    states = {"enum": ["queued", "deferred", "delivered", "bounced"]}
    time = {"type": "string", "format": "date-time"}
    count = {"type": "integer", "minimum": 0}
    callback = {"event": states, "state": {"enum": ["waiting", "posting", "behind", "done", "given_up"]}, "attempts": count}
    return {
        "type": "object",
        "required": ["ok", "queued_id", "queued_at", "type", "to", "subject", "state", "changed_at", "attempts"],
        "properties": {
            "ok": {"const": True},
            "queued_id": {"type": "integer"},
            "queued_at": time,
            "type": {"type": "string"},
            "to": {"type": "string"},
            "subject": {"type": "string"},
            "state": states,
            "changed_at": {**time, "description": "When it came into this state."},
            "attempts": {**count, "description": "To deliver; 0 too for mailboxes of this server."},
            "reply": {"type": "string", "description": "What the next server said last."},
            "next_attempt_at": time,
            "callbacks": {"type": "array", "items": {"type": "object", "required": [*callback], "properties": callback}},
        },
    }


def _headers(prefix: str, over: str) -> list[dict[str, Any]]:
    return [
        {"name": f"{prefix}-Timestamp", "in": "header", "schema": {"type": "string"}, "description": "ISO 8601, UTC recommended."},
        {
            "name": f"{prefix}-Signature",
            "in": "header",
            "schema": {"type": "string"},
            "description": f"Hexadecimal HMAC-SHA-256 of timestamp + '.' + {over}.",
        },
    ]


_ERRORS = {
    400: "No JSON, or a field that is wrong",
    401: "The signature is missing or wrong",
    403: "Calls from this address are not allowed",
    404: "There is no such thing here",
    408: "The call took too long to arrive",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "The mail cannot be sent as it is asked for",
    429: "Too many calls; Retry-After tells when the next may come",
    500: "The server failed",
    503: "Not configured, or temporary trouble: Retry-After tells when to try again",
}


def _answers(name: str, errors: tuple[int, ...]) -> dict[str, Any]:
    content = {_JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    refused = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "Done", "content": content},
        **{str(status): {"description": _ERRORS[status], "content": refused} for status in errors},
    }


def _post(prefix: str) -> dict[str, Any]:
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
    what = "A call with a key that was used within the last two days is answered as that one was."
    return {
        "operationId": "send",
        "summary": "Send one mail",
        "parameters": [*_headers(prefix, "body"), {"name": "Idempotency-Key", "in": "header", "schema": key, "description": what}],
        "requestBody": {"required": True, "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Call"}}}},
        "responses": _answers("Accepted", (400, 401, 403, 413, 415, 422, 429, 503)),
    }


def _status(prefix: str) -> dict[str, Any]:
    id = {"name": "queued_id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 10**17}}
    return {
        "operationId": "status",
        "summary": "How far a mail has come",
        "parameters": [id, *_headers(prefix, "path")],
        "responses": _answers("Status", (400, 401, 403, 404, 429, 503)),
    }


def _plain(name: str, summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": "Done", "content": {_JSON: {"schema": answer}}}},
    }
