"""How a POP3 command ends: ``+OK`` or ``-ERR`` (RFC 1939 3), with the response codes of RFC 2449 8, RFC 3206 and RFC 6856.

Texts are constant sentences of this package, never an exception's words.
"""


class Refusal(Exception):
    """The command ends with -ERR; ``code`` without its brackets. ``counts``: it made no sense, which no client may do for ever."""

    def __init__(self, text: bytes, code: bytes = b"", counts: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.counts = counts

    def line(self) -> bytes:
        return b"-ERR [%b] %b\r\n" % (self.code, self.text) if self.code else b"-ERR %b\r\n" % self.text


class Wrong(Refusal):
    """The command is not understood or has no place here."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text, counts=True)


def ok(text: bytes) -> bytes:
    return b"+OK %b\r\n" % text
