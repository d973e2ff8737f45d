"""What kind of listener a session came in by, and what that allows: MX, submission, submissions, LMTP."""

from attrs import frozen


@frozen
class Door:
    """One kind of listener. ``name`` is its name in logs, counters and configuration."""

    name: str
    submission: bool = False  # mail of our own users: TLS and AUTH before MAIL (RFC 6409, RFC 8314)
    implicit_tls: bool = False
    lmtp: bool = False  # RFC 2033: LHLO, one reply a recipient after the message

    @property
    def label(self) -> str:
        """The protocol's name in the greeting."""
        return "LMTP" if self.lmtp else "ESMTP"


MX = Door("smtp")
SUBMISSION = Door("submission", submission=True)
SUBMISSIONS = Door("submissions", submission=True, implicit_tls=True)
LMTP = Door("lmtp", lmtp=True)
