"""The THREAD response (RFC 5256 4). Without recursion: a thread may be as deep as a mailbox has messages."""

from collections.abc import Mapping, Sequence

from mailx.mail.forest import Node


def response(forest: Sequence[Node], numbers: Mapping[int, int] | None) -> bytes:
    """``numbers`` has the sequence numbers of the UIDs in ``forest``; None: the UIDs are told."""
    parts = [b"* THREAD "] if forest else [b"* THREAD"]
    left: list[Node | bytes] = list(reversed(forest))
    while left:
        node = left.pop()
        if isinstance(node, bytes):
            parts.append(node)
            continue
        parts.append(b"(")
        while True:
            if node.entry is not None:
                parts.append(b"%d" % (node.entry.number if numbers is None else numbers[node.entry.number]))
            if len(node.children) != 1:
                break
            parts.append(b" ")
            node = node.children[0]
        left.append(b")")
        if node.children:
            if node.entry is not None:
                parts.append(b" ")
            left.extend(reversed(node.children))
    parts.append(b"\r\n")
    return b"".join(parts)
