"""The arguments of LIST, with all its extensions: RFC 5258, 5819 (STATUS), 6154 (SPECIAL-USE), 8440 (MYRIGHTS), 9590 (METADATA)."""

from attrs import evolve

from mailx.imap.answers import Bad
from mailx.imap.commands import Listing
from mailx.imap.grammar import status_items
from mailx.imap.metadata_grammar import entries
from mailx.imap.tokens import Tokens

PATTERNS_LIMIT = 64

_SELECTION = frozenset((b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"))
_RETURNS = frozenset((b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"MYRIGHTS"))


def listing(tokens: Tokens) -> Listing:
    tokens.space()
    selection: set[bytes] = set()
    if tokens.take(b"("):
        selection = _selection(tokens)
        tokens.space()
    extended = bool(selection)
    reference = tokens.pattern()
    tokens.space()
    patterns: list[str] = []
    if tokens.take(b"("):
        extended = True
        patterns.append(tokens.pattern())
        while tokens.take(b" "):
            if len(patterns) == PATTERNS_LIMIT:
                raise Bad(b"Too many patterns", b"LIMIT")
            patterns.append(tokens.pattern())
        tokens.expect(b")")
    else:
        patterns.append(tokens.pattern())
    asked = Listing(
        reference,
        tuple(patterns),
        subscribed=b"SUBSCRIBED" in selection,
        special_use=b"SPECIAL-USE" in selection,
        recursive=b"RECURSIVEMATCH" in selection,
        children=False,
        extended=extended,
    )
    if tokens.take(b" "):
        asked = _returns(tokens, evolve(asked, extended=True))
    tokens.end()
    shown = asked.show_subscribed or asked.subscribed
    return evolve(asked, children=asked.children or not asked.extended, show_subscribed=shown)


def _selection(tokens: Tokens) -> set[bytes]:
    options: set[bytes] = set()
    if tokens.take(b")"):
        return options
    while True:
        option = tokens.keyword()
        if option not in _SELECTION:
            raise Bad(b"Unknown LIST selection option")
        options.add(option)
        if not tokens.take(b" "):
            break
    tokens.expect(b")")
    if b"RECURSIVEMATCH" in options and not options & {b"SUBSCRIBED", b"SPECIAL-USE"}:
        raise Bad(b"RECURSIVEMATCH needs another selection option")
    return options


def _returns(tokens: Tokens, asked: Listing) -> Listing:
    """What to say of each name; an option twice says nothing more than once."""
    if tokens.keyword() != b"RETURN":
        raise Bad(b"RETURN expected")
    tokens.expect(b" (")
    options: set[bytes] = set()
    if not tokens.take(b")"):
        while True:
            option = tokens.keyword()
            if option == b"STATUS":
                tokens.expect(b" ")
                asked = evolve(asked, status=status_items(tokens))
            elif option == b"METADATA":
                tokens.expect(b" ")
                asked = evolve(asked, metadata=entries(tokens))
            elif option not in _RETURNS:
                raise Bad(b"Unknown LIST return option")
            options.add(option)
            if not tokens.take(b" "):
                break
        tokens.expect(b")")
    return evolve(asked, children=b"CHILDREN" in options, show_subscribed=b"SUBSCRIBED" in options, my_rights=b"MYRIGHTS" in options)
