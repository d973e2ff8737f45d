"""The one answer that SMTP, the queue and federation all speak: a code, an enhanced code, a text.

``Refused`` is the one exception for "no"; whoever raises it has made sure that nothing was kept.
"""

from attrs import frozen


@frozen
class Reply:
    """An answer in the terms of RFC 5321 4.2 and RFC 3463.

    ``code`` 2xx means done, 4xx again later, 5xx never; ``enhanced`` is ``"2.1.5"`` or ``""``;
    ``text`` is one line, safe to show to a stranger (never an exception's text).
    """

    code: int
    enhanced: str
    text: str

    @property
    def done(self) -> bool:
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        return 400 <= self.code < 500

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


class Refused(Exception):
    """The request was refused with ``reply``; nothing of it was kept.

    ``reason`` is private: it may go to the log, never to the peer.
    """

    def __init__(self, reply: Reply, reason: str = "") -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.reason = reason or reply.text


class Unavailable(Refused):
    """The store cannot answer now (locked, full, read-only, gone): try again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(Reply(451, "4.3.0", "Requested action aborted: local error"), reason)
