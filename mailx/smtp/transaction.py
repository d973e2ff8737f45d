"""The state of one mail transaction: what MAIL, RCPT and the body have built up (RFC 5321 3.3)."""

from mailx.mail.address import Address
from mailx.mail.lines import DotReader
from mailx.smtp.incoming import Incoming
from mailx.smtp.syntax import Path


class Transaction:
    """From MAIL to the reply after the body. Ends with the session, RSET, EHLO or that reply."""

    __slots__ = ("sender", "size", "utf8", "recipients", "id", "incoming", "reader", "chunked")

    def __init__(self, path: Path) -> None:
        self.sender = path.address
        self.size = path.size
        self.utf8 = path.utf8
        self.recipients: list[Address] = []  # each accepted RCPT, in order, repeated if the client repeats it
        self.id = ""  # the envelope's id, once the body begins
        self.incoming: Incoming | None = None
        self.reader: DotReader | None = None  # DATA
        self.chunked = False  # BDAT

    def abort(self) -> None:
        """Nothing of the message stays behind."""
        if self.incoming is not None:
            self.incoming.abort()
            self.incoming = None
