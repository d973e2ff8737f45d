"""Strangers' texts made fit to be shown: nothing steers a terminal, begins a line or turns a text's direction. Pure."""


def printable(text: str, instead: str = "?") -> str:
    """``text`` on one line, with ``instead`` for each character that cannot be seen."""
    return text if text.isprintable() else "".join(each if each.isprintable() else instead for each in text)
