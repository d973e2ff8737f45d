"""A small client of the webhook receiver, with the standard library only: this one file can be copied into a program.

    client = WebhookClient("http://127.0.0.1:2555", "the shared secret")
    accepted = client.verify_email("user@example.com", token="123456", expires_at="2026-02-21T06:00:00Z")
    print(accepted["queued_id"], client.status(accepted["queued_id"])["state"])

A refusal raises :class:`CallRefused` with the receiver's words. Trouble that passes is tried again with the same idempotency
key, so that nothing is sent twice. ``verify_callback`` tells whether a callback comes from the receiver.
"""

import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
import uuid
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any

PATH = "/webhook/outbound-email"
_PASSING = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 30.0  # seconds between two tries
_ANSWER_LIMIT = 1 << 20  # octets


class CallRefused(Exception):
    """The receiver does not take the call. ``status`` is that of HTTP, ``field`` the field that is wrong, or empty."""

    def __init__(self, status: int, error: str, field: str = "") -> None:
        super().__init__(f"{status} {error}")
        self.status = status
        self.error = error
        self.field = field


class WebhookClient:
    """Calls the receiver at ``url`` (scheme, host, port). Without a ``secret`` calls are not signed."""

    def __init__(self, url: str, secret: str = "", *, prefix: str = "X-TransLife", timeout: float = 30.0, tries: int = 3) -> None:
        """``prefix`` is what the names of the signature's headers begin with, ``timeout`` in seconds, ``tries`` in all."""
        self._url = url.rstrip("/")
        self._secret = secret.encode()
        self._prefix = prefix
        self._timeout = timeout
        self._tries = tries

    def verify_email(self, to: str, *, token: str, expires_at: str, subject: str = "Verify your email", **more: Any) -> dict[str, Any]:
        """Ask for a mail that confirms an address. ``more``: link, fromLocalPart, callbackUrl. Raises CallRefused, OSError."""
        return self.send({"type": "email_verification", "to": to, "subject": subject, "token": token, "expiresAt": expires_at, **more})

    def reset_password(self, to: str, *, token: str, expires_at: str, subject: str = "Reset your password", **more: Any) -> dict[str, Any]:
        """Ask for a mail that leads to a new password; as ``verify_email``."""
        return self.send({"type": "password_reset", "to": to, "subject": subject, "token": token, "expiresAt": expires_at, **more})

    def message(self, to: str, subject: str, *, text: str = "", html: str = "", **more: Any) -> dict[str, Any]:
        """Ask for any mail. ``more``: fromLocalPart, fromName, replyTo, callbackUrl, attachments (see ``attachment``)."""
        return self.send({"type": "message", "to": to, "subject": subject, "text": text, "html": html, **more})

    def send(self, values: Mapping[str, Any], idempotency_key: str = "") -> dict[str, Any]:
        """Make a call with these fields; the answer: ok, to, subject, queued_id, queued_at. Raises CallRefused, OSError."""
        body = json.dumps(values).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._call("POST", PATH, body, headers)

    def status(self, queued_id: int) -> dict[str, Any]:
        """How far a call has come. Raises CallRefused, OSError."""
        return self._call("GET", f"{PATH}/{queued_id}", None, {})

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        for remaining in range(self._tries - 1, -1, -1):
            signed = self._signature(path.encode() if body is None else body)
            request = urllib.request.Request(self._url + path, body, {**headers, **signed}, method=method)
            wait = 1.0
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return dict(json.loads(answer.read(_ANSWER_LIMIT)))
            except urllib.error.HTTPError as error:
                refused = _refused(error)
                if refused.status not in _PASSING or not remaining:
                    raise refused from None
                wait = _seconds(error.headers.get("Retry-After"))
            except (HTTPException, ValueError, TypeError) as error:
                if not remaining:
                    raise OSError(f"the answer is not that of a receiver: {type(error).__name__}") from error
            except OSError:
                if not remaining:
                    raise
            time.sleep(wait)
        raise ValueError("tries must be at least 1")

    def _signature(self, signed: bytes) -> dict[str, str]:
        if not self._secret:
            return {}
        timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        signature = hmac.new(self._secret, timestamp.encode() + b"." + signed, hashlib.sha256).hexdigest()
        return {f"{self._prefix}-Timestamp": timestamp, f"{self._prefix}-Signature": signature}


def attachment(
    filename: str, content: bytes, content_type: str = "application/octet-stream", *, content_id: str = "", inline: bool = False
) -> dict[str, Any]:
    """One entry of ``attachments``. HTML shows one with a ``content_id`` by ``cid:``."""
    entry = {"filename": filename, "contentType": content_type, "content": b64encode(content).decode()}
    return {**entry, "contentId": content_id, "inline": inline} if content_id else entry


def verify_callback(secret: str, timestamp: str, signature: str, body: bytes, window: float = 300.0) -> bool:
    """Whether a callback with these headers is the receiver's, and not older or newer than ``window`` seconds."""
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
        return False
    try:
        made = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return False
    return abs(datetime.now(UTC).timestamp() - (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()) <= window


def _refused(error: urllib.error.HTTPError) -> CallRefused:
    try:
        said = json.loads(error.read(_ANSWER_LIMIT))
        return CallRefused(error.code, str(said.get("error", error.reason)), str(said.get("field", "")))
    except (ValueError, AttributeError, OSError):
        return CallRefused(error.code, str(error.reason))


def _seconds(text: str | None) -> float:
    """What Retry-After says, within reason."""
    return min(float(text), _LONGEST_WAIT) if text and text.isascii() and text.isdigit() else 1.0


__all__: Sequence[str] = ("CallRefused", "WebhookClient", "attachment", "verify_callback")
