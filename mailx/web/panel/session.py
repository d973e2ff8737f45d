"""Who is at the browser: cookies, tokens against forged forms, and the message that the next page shows.

The session itself is core's (:mod:`mailx.core.admin_sessions`). Cookies are HttpOnly and SameSite=Strict; under TLS they are
Secure and bound to this host by the ``__Host-`` prefix. The message of a redirect travels in a signed cookie, never in an
address; one that was changed on the way is not shown.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hmac import compare_digest
from secrets import token_urlsafe

from attrs import frozen

from mailx.web.requests import Asked

SESSION, STEP, GUEST, MESSAGE, SCHEME = "session", "step", "guest", "message", "scheme"
_MESSAGE_SECONDS = 120
_GUEST_SECONDS = 3600
_LONGEST = 600  # characters of a message
KINDS = ("done", "notice", "problem")
SCHEMES = ("light", "dark")


@frozen
class Message:
    """What the next page says once."""

    text: str
    kind: str


def cookie_name(name: str, secure: bool) -> str:
    """The name of a cookie of ours."""
    return f"__Host-mailx-{name}" if secure else f"mailx-{name}"


def cookie(asked: Asked, name: str) -> str:
    """What the browser sent for ``name``; "" for none. Over TLS only the cookie that was set over TLS counts."""
    value = asked.cookies.get(cookie_name(name, asked.secure), "")
    return value if len(value) <= 4096 else ""


def set_cookie(name: str, value: str, secure: bool, seconds: int | None = None) -> str:
    """A Set-Cookie value; without ``seconds`` the cookie lives as long as the browser."""
    age = "" if seconds is None else f"; Max-Age={seconds}"
    return f"{cookie_name(name, secure)}={value}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}{age}"


def drop_cookie(name: str, secure: bool) -> str:
    """A Set-Cookie value that removes the cookie."""
    return set_cookie(name, "", secure, 0)


class Tokens:
    """Makes and checks what goes to browsers signed. ``mark(purpose, text)`` is a keyed hash, in hexadecimal digits."""

    def __init__(self, mark: Callable[[str, str], str]) -> None:
        self._mark = mark

    def guest(self) -> str:
        """A name for a browser that is not logged in."""
        return token_urlsafe(24)

    def guest_csrf(self, guest: str) -> str:
        """The token of the forms that this guest is shown; it is worth nothing to others."""
        return self._mark("guest", guest) if guest else ""

    def sign_message(self, message: Message, owner: str) -> str:
        """``message`` for the browser of ``owner``, as the value of a cookie."""
        content = urlsafe_b64encode(
            json.dumps([message.text[:_LONGEST], message.kind], ensure_ascii=False).encode("utf-8", "replace")
        ).decode()
        return f"{content}.{self._mark('message', f'{owner} {content}')}"

    def read_message(self, value: str, owner: str) -> Message | None:
        """The message in the cookie; None when it was not signed here for ``owner``."""
        content, _, mark = value.partition(".")
        if not equal(mark, self._mark("message", f"{owner} {content}")):
            return None
        text, kind = json.loads(urlsafe_b64decode(content))
        return Message(text, kind if kind in KINDS else "notice")


def equal(one: str, other: str) -> bool:
    """Whether two tokens are the same, in a time that tells nothing; "" equals nothing."""
    return bool(one) and compare_digest(one.encode(), other.encode())


def message_cookie(value: str, secure: bool) -> str:
    """The cookie with a signed message."""
    return set_cookie(MESSAGE, value, secure, _MESSAGE_SECONDS)


def guest_cookie(guest: str, secure: bool) -> str:
    """The cookie of a browser that is not logged in."""
    return set_cookie(GUEST, guest, secure, _GUEST_SECONDS)


def scheme(asked: Asked) -> str:
    """The colours that this browser chose: light, dark, or "" for what its system says."""
    chosen = cookie(asked, SCHEME)
    return chosen if chosen in SCHEMES else ""
