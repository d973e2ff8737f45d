"""A message on its way in: its bytes, held in memory or spooled, and nothing else.

The parsed view is :mod:`mailx.mail.mime`; the stored view is :class:`mailx.mail.summary.Summary`.
"""

from typing import Protocol

from attrs import field, frozen


class Spooled(Protocol):
    """Content too large for memory: an encrypted file that only its owner knows how to open.

    ``read`` opens all of it, or its first ``length`` octets, and may take long: never call it on the reactor thread.
    """

    @property
    def size(self) -> int: ...

    def read(self, length: int | None = None) -> bytes: ...

    def discard(self) -> None: ...


@frozen
class Message:
    """``content`` is the message with CRLF line ends, trace header included, dots unstuffed.

    ``size`` is in octets. ``eight_bit`` tells whether an octet above 127 occurs.
    """

    content: bytes | Spooled = field(repr=False)
    size: int
    eight_bit: bool = False
