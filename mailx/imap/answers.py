"""How a command ends when it does not end well: ``No`` and ``Bad``, with response codes of RFC 5530.

``text`` is for the client's eyes and always a constant sentence of this package, never an exception's text.
"""

from typing import Literal


class Ended(Exception):
    """A command ends with ``status``, an optional response code and a text."""

    status: Literal[b"NO", b"BAD"]

    def __init__(self, text: bytes, code: bytes = b"") -> None:
        super().__init__(text)
        self.text = text
        self.code = code

    def line(self, tag: bytes) -> bytes:
        """The tagged response."""
        return tagged(tag, self.status, self.text, self.code)


class No(Ended):
    """The command is understood and refused."""

    status = b"NO"


class Bad(Ended):
    """The command is not understood, or has no place here."""

    status = b"BAD"


def tagged(tag: bytes, status: bytes, text: bytes, code: bytes = b"") -> bytes:
    """One status response; ``tag`` is ``b"*"`` for an untagged one."""
    if code:
        return b"%b %b [%b] %b\r\n" % (tag, status, code, text)
    return b"%b %b %b\r\n" % (tag, status, text)
