"""The state of one mail transaction: what MAIL, RCPT and the body have built up (RFC 5321 3.3)."""

from mailx.mail.address import Address
from mailx.mail.envelope import Envelope, Origin, Wish
from mailx.mail.lines import DotReader
from mailx.mail.message import Message
from mailx.smtp.incoming import Incoming
from mailx.smtp.syntax import Path


class Transaction:
    """From MAIL to the reply after the body. Ends with the session, RSET, EHLO or that reply."""

    __slots__ = ("sender", "size", "demands", "utf8", "recipients", "wishes", "id", "incoming", "reader", "chunked")

    def __init__(self, path: Path) -> None:
        self.sender = path.address
        self.size = path.size
        self.demands = path.demands
        self.utf8 = path.demands.utf8
        self.recipients: list[Address] = []  # each accepted RCPT, in order, repeated if the client repeats it
        self.wishes: dict[Address, Wish] = {}  # NOTIFY and ORCPT of those that have some
        self.id = ""  # the envelope's id, once the body begins
        self.incoming: Incoming | None = None
        self.reader: DotReader | None = None  # DATA
        self.chunked = False  # BDAT

    def envelope(self, message: Message, origin: Origin) -> Envelope:
        """What is handed over, now that the message is whole."""
        return Envelope(self.id, self.sender, tuple(self.recipients), message, origin, demands=self.demands, wishes=self.wishes)

    def abort(self) -> None:
        """Nothing of the message stays behind."""
        if self.incoming is not None:
            self.incoming.abort()
            self.incoming = None
