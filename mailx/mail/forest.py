"""Messages as trees of answers: the threading algorithms of RFC 5256, REFERENCES and ORDEREDSUBJECT, and REFS, which leaves subjects alone.

Pure, and without recursion: whoever writes a References field decides how deep a thread is. Nothing raises. References that would
close a circle are left out, and so are those that took too long to check.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_STEPS = 5_000_000  # ancestors looked at in one mailbox; beyond, references that cannot be proven no circle are left out


class Entry(NamedTuple):
    """What of a message decides about threads. Identifiers are any numbers that tell them apart, 0 for none."""

    number: int
    date: int
    identifier: int = 0
    references: Sequence[int] = ()
    subject: str = ""  # base subject
    reply: bool = False  # the subject says that it is an answer or forwarded
    received: int = 0


class Node:
    """A message with what answers it, or an unknown one (``entry`` None) that several answer."""

    __slots__ = ("children", "entry", "order", "parent")

    def __init__(self, entry: Entry | None = None) -> None:
        self.entry = entry
        self.parent: Node | None = None  # while messages are linked
        self.children: list[Node] = []
        self.order = (0, 0) if entry is None else (entry.date, entry.number)  # what siblings are sorted by


def by_subject(entries: Iterable[Entry]) -> list[Node]:
    """ORDEREDSUBJECT: one thread for each base subject, the first message above all others (RFC 5256 3)."""
    roots: dict[str, Node] = {}
    for entry in sorted(entries, key=lambda entry: (entry.date, entry.number)):
        root = roots.get(entry.subject)
        if root is None:
            roots[entry.subject] = Node(entry)
        else:
            root.children.append(Node(entry))
    return list(roots.values())


def by_references(entries: Iterable[Entry]) -> list[Node]:
    """REFERENCES: by references, then by subjects (RFC 5256 3)."""
    roots = _pruned(_linked(entries))
    _sort(roots)
    roots = _gathered(roots)
    _sort(roots)
    return roots


def by_references_only(entries: Iterable[Entry]) -> list[Node]:
    """REFS: by references; the thread that a message came to last is the last."""
    roots = _pruned(_linked(entries))
    _sort(roots)
    latest = {id(root): max(node.entry.received for node in _all([root]) if node.entry is not None) for root in roots}
    roots.sort(key=lambda root: latest[id(root)])
    return roots


def _linked(entries: Iterable[Entry]) -> list[Node]:
    """Steps 1 and 2: every message below what it refers to last; returns those below nothing."""
    known: dict[int, Node] = {}
    nodes: list[Node] = []
    steps = [_STEPS]
    for entry in entries:
        node = known.get(entry.identifier) if entry.identifier else None
        if node is None or node.entry is not None:  # none yet; or an identifier that two messages have, of which the first keeps it
            fresh = Node(entry)
            if entry.identifier and node is None:
                known[entry.identifier] = fresh
            node = fresh
            nodes.append(node)
        else:
            node.entry = entry
            node.order = (entry.date, entry.number)
        above = None
        for identifier in entry.references:
            referred = known.get(identifier)
            if referred is None:
                referred = known[identifier] = Node()
                nodes.append(referred)
            if above is not None and referred.parent is None and not _above(referred, above, steps):
                referred.parent = above
                above.children.append(referred)
            above = referred
        if above is not node.parent or above is None:
            node.parent = None  # what other messages said of it goes; the list there keeps it until all are linked
            if above is not None and not _above(node, above, steps):
                node.parent = above
                above.children.append(node)
    for node in nodes:
        if node.children:
            node.children = [child for child in dict.fromkeys(node.children) if child.parent is node]
    roots = [node for node in nodes if node.parent is None]
    for node in nodes:
        node.parent = None  # no circle is left, so that large forests go at once
    return roots


def _above(node: Node, other: Node, steps: list[int]) -> bool:
    """Whether ``other`` is ``node`` or below it, or that takes too long to find out."""
    if node is other:
        return True
    if not node.children:
        return False
    while other.parent is not None:
        other = other.parent
        steps[0] -= 1
        if other is node or steps[0] < 0:
            return True
    return False


def _all(roots: Iterable[Node]) -> list[Node]:
    """Every node, parents before children."""
    found = list(roots)
    for node in found:  # grows meanwhile
        found.extend(node.children)
    return found


def _pruned(roots: list[Node]) -> list[Node]:
    """Step 3: unknown messages go, what is below them moves up; one at the top stays if it holds several together."""
    for node in reversed(_all(roots)):
        node.children = _without_unknown(node.children)
    kept: list[Node] = []
    for root in roots:
        if root.entry is not None or len(root.children) > 1:
            kept.append(root)
        else:
            kept.extend(root.children)
    return kept


def _without_unknown(nodes: list[Node]) -> list[Node]:
    if all(node.entry is not None for node in nodes):
        return nodes
    kept: list[Node] = []
    for node in nodes:
        if node.entry is not None:
            kept.append(node)
        else:
            kept.extend(node.children)
    return kept


def _sort(roots: list[Node]) -> None:
    """Steps 4 and 6: siblings by date, an unknown one by the first below it."""
    for node in reversed(_all(roots)):
        if len(node.children) > 1:
            node.children.sort(key=_order)
        if node.entry is None:
            node.order = node.children[0].order
    roots.sort(key=_order)


def _order(node: Node) -> tuple[int, int]:
    return node.order


def _first(node: Node) -> Entry:
    """The message that gives a thread its subject."""
    while node.entry is None:
        node = node.children[0]
    return node.entry


def _gathered(roots: list[Node]) -> list[Node]:
    """Step 5: threads with one base subject become one."""
    table: dict[str, Node] = {}
    for root in roots:
        first = _first(root)
        if not first.subject:
            continue
        held = table.get(first.subject)
        if held is None or held.entry is not None and (root.entry is None or held.entry.reply and not root.entry.reply):
            table[first.subject] = root
    gathered: dict[int, Node] = {}  # by id, in order; an unknown one put in place of a root keeps its place
    place: dict[str, int] = {}
    for root in roots:
        subject = _first(root).subject
        held = table.get(subject) if subject else None
        if held is None or held is root:
            gathered[id(root)] = root
            if held is root:
                place[subject] = id(root)
            continue
        if held.entry is None:
            if root.entry is None:
                held.children.extend(root.children)
            else:
                held.children.append(root)
        elif root.entry is None or root.entry.reply and not held.entry.reply:
            held.children.append(root)
        else:
            both = Node()
            both.children = [held, root]
            table[subject] = both
            gathered[place[subject]] = both
    return list(gathered.values())
