"""What the commands of IMAP read from; POP3 reads from the same: :mod:`mailx.core.input`."""

from mailx.core.input import HIGH_WATER, BareLine, Hangup, Input, LongLine

__all__ = ["HIGH_WATER", "BareLine", "Hangup", "Input", "LongLine"]
