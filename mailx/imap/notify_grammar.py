"""The arguments of NOTIFY (RFC 5465 8)."""

from attrs import frozen

from mailx.imap import fetch_grammar
from mailx.imap.answers import Bad, No
from mailx.imap.commands import Item
from mailx.imap.tokens import Tokens
from mailx.mail.mailbox import Mailbox
from mailx.mail.names import INBOX, REQUESTS, normal

GROUPS_LIMIT = 100
NAMES_LIMIT = 2000  # mailboxes named in one command
MESSAGES = frozenset((b"MESSAGENEW", b"MESSAGEEXPUNGE", b"FLAGCHANGE"))
_EVENTS = MESSAGES | {b"MAILBOXNAME", b"SUBSCRIPTIONCHANGE", b"MAILBOXMETADATACHANGE", b"SERVERMETADATACHANGE"}
_SUPPORTED = b"MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange"
_SELECTED = (b"SELECTED", b"SELECTED-DELAYED")
_NAMING = (b"SUBTREE", b"MAILBOXES")


@frozen
class Group:
    """Some mailboxes and the events in them that the client wants to hear of."""

    mailboxes: bytes
    names: frozenset[str]  # of SUBTREE and MAILBOXES
    events: frozenset[bytes]
    items: tuple[Item, ...] = ()  # to send of each new message of the selected mailbox

    def covers(self, name: str, mailbox: Mailbox | None, account: int) -> bool:
        """Whether the group is of the mailbox ``name``, which is None where only a subscription has the name."""
        if self.mailboxes == b"MAILBOXES":
            return name in self.names
        if self.mailboxes == b"SUBTREE":
            return any(name == top or name.startswith(top + "/") for top in self.names)
        if self.mailboxes == b"SUBSCRIBED":
            return mailbox is None or mailbox.subscribed
        own = mailbox is None or mailbox.account == account
        if self.mailboxes == b"PERSONAL":
            return own
        # INBOXES: where mail is delivered to
        return mailbox is not None and own and (name in (INBOX, REQUESTS) or mailbox.special_use == "\\Junk")


@frozen
class Notify:
    """``groups`` None: NOTIFY NONE."""

    groups: tuple[Group, ...] | None
    status: bool = False


def notify(tokens: Tokens) -> Notify:
    tokens.space()
    word = tokens.keyword()
    if word == b"NONE":
        tokens.end()
        return Notify(None)
    if word != b"SET":
        raise Bad(b"SET or NONE expected")
    tokens.space()
    status = tokens.take_word(b"STATUS")
    if status:
        tokens.space()
    groups = [_group(tokens)]
    while tokens.take(b" "):
        if len(groups) == GROUPS_LIMIT:
            raise Bad(b"Too many event groups", b"LIMIT")
        groups.append(_group(tokens))
    tokens.end()
    if sum(group.mailboxes in _SELECTED for group in groups) > 1:
        raise Bad(b"SELECTED once")
    if sum(len(group.names) for group in groups) > NAMES_LIMIT:
        raise Bad(b"Too many mailboxes", b"LIMIT")
    return Notify(tuple(groups), status)


def _group(tokens: Tokens) -> Group:
    tokens.expect(b"(")
    mailboxes = tokens.keyword()
    names: frozenset[str] = frozenset()
    if mailboxes in _NAMING:
        tokens.space()
        names = mailbox_names(tokens)
    elif mailboxes not in (*_SELECTED, b"INBOXES", b"PERSONAL", b"SUBSCRIBED"):
        raise Bad(b"Unknown mailbox filter")
    tokens.space()
    events, items = _events(tokens)
    tokens.expect(b")")
    if items and mailboxes not in _SELECTED:
        raise Bad(b"Only the selected mailbox has its new messages fetched")
    if mailboxes in _SELECTED and events - MESSAGES:
        raise Bad(b"The selected mailbox has events of messages only")
    if events & MESSAGES and not {b"MESSAGENEW", b"MESSAGEEXPUNGE"} <= events:
        raise Bad(b"MessageNew and MessageExpunge go together, and FlagChange with both")
    return Group(mailboxes, names, events, items)


def mailbox_names(tokens: Tokens) -> frozenset[str]:
    """One mailbox, or a list of them (``one-or-more-mailbox``, RFC 5465 8)."""
    if not tokens.take(b"("):
        return frozenset((normal(tokens.mailbox()),))
    names = {normal(tokens.mailbox())}
    while tokens.take(b" "):
        if len(names) == NAMES_LIMIT:
            raise Bad(b"Too many mailboxes", b"LIMIT")
        names.add(normal(tokens.mailbox()))
    tokens.expect(b")")
    return frozenset(names)


def _events(tokens: Tokens) -> tuple[frozenset[bytes], tuple[Item, ...]]:
    if tokens.take_word(b"NONE"):
        return frozenset(), ()
    tokens.expect(b"(")
    events: set[bytes] = set()
    items: tuple[Item, ...] = ()
    while True:
        event = tokens.keyword()
        if event not in _EVENTS:
            raise No(b"Some events are not supported", b"BADEVENT (%b)" % _SUPPORTED)
        events.add(event)
        more = tokens.take(b" ")
        if more and event == b"MESSAGENEW" and tokens.peek() == b"(":
            items = fetch_grammar.items(tokens)
            more = tokens.take(b" ")
        if not more:
            break
    tokens.expect(b")")
    return frozenset(events), items
