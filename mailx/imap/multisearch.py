"""ESEARCH: one search in many mailboxes, one response for each that has something (RFC 7377).

A mailbox that is not there, may not be read or goes meanwhile is passed over, as if nothing in it matched.
"""

from collections.abc import Sequence

from attrs import frozen

from mailx.core.mailboxes import Mailboxes
from mailx.core.selected import Selected
from mailx.imap import contexts, esearch, searching
from mailx.imap.answers import Bad
from mailx.imap.arrival import Command
from mailx.imap.notify_grammar import NAMES_LIMIT, Group, mailbox_names
from mailx.imap.search import EVERYTHING, Search, program, returns
from mailx.imap.session import Session
from mailx.imap.tokens import Tokens
from mailx.mail.mailbox import DELIMITER, Mailbox
from mailx.mail.names import MailboxError

_SELECTED = (b"SELECTED",)
_PLAIN = (b"INBOXES", b"PERSONAL", b"SUBSCRIBED")
_NAMING = (b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES")


@frozen
class Source:
    """Some mailboxes of those to search in."""

    kind: bytes
    names: frozenset[str] = frozenset()

    def covers(self, mailbox: Mailbox, account: int) -> bool:
        if self.kind == b"SUBTREE-ONE":
            return mailbox.name in self.names or mailbox.name.rpartition(DELIMITER)[0] in self.names
        return Group(self.kind, self.names, frozenset()).covers(mailbox.name, mailbox, account)


@frozen
class MultiSearch:
    search: Search
    sources: tuple[Source, ...]  # without the selected mailbox
    selected: bool  # that one too


def multisearch(tokens: Tokens) -> MultiSearch:
    tokens.space()
    sources: list[Source] = []
    if tokens.take_word(b"IN"):
        tokens.expect(b" (")
        sources.append(_source(tokens))
        while tokens.take(b" "):
            if tokens.take(b"("):  # scope options: none is defined (RFC 7377 2.2)
                tokens.expect(b")")
                break
            sources.append(_source(tokens))
            if sum(1 + len(source.names) for source in sources) > NAMES_LIMIT:
                raise Bad(b"Too many mailboxes", b"LIMIT")
        tokens.expect(b")")
        tokens.space()
    asked = EVERYTHING
    if tokens.take_word(b"RETURN"):
        asked = returns(tokens)
        tokens.space()
    others = tuple(source for source in sources if source.kind not in _SELECTED)
    return MultiSearch(program(tokens, asked), others, len(others) < len(sources) or not sources)


def _source(tokens: Tokens) -> Source:
    kind = tokens.keyword()
    if kind in _NAMING:
        tokens.space()
        return Source(kind, mailbox_names(tokens))
    if kind not in _SELECTED and kind not in _PLAIN:
        raise Bad(b"Unknown mailbox filter")
    return Source(kind)


async def run(session: Session, command: Command, asked: MultiSearch) -> None:
    """Responses come as mailboxes were searched, the selected one first."""
    search = asked.search
    wanted = search.returns or EVERYTHING
    view = session.selected
    if view is None and (asked.selected or wanted.update):
        raise Bad(b"No mailbox selected")
    if asked.sources and (search.saved or search.numbers or wanted.save):
        raise Bad(b"Message numbers and $ are of the selected mailbox alone")
    query = searching.prepared(session, search)
    if view is not None and asked.selected:
        uids, relevancies = await searching.found(session, view, wanted, query)
        if wanted.update:
            contexts.begin(session, searching.live(session, command, wanted, query), uids)
        if wanted.save:
            session.saved = esearch.kept(wanted, uids)
        if not wanted.silent:
            _tell(session, command, search, view, view.mailbox.name, uids, relevancies)
    elif wanted.update:
        contexts.refuse(session, command.tag)
    mailboxes = session.services.mailboxes
    for done, mailbox in enumerate(found := await _chosen(session, mailboxes, asked.sources)):
        session.progress = done, len(found)
        await session.peer.ready()
        if view is None or mailbox.id != view.mailbox.id:
            await _in_another(session, command, search, mailbox)
        elif not asked.selected:
            _tell(session, command, search, view, mailbox.name, *await searching.found(session, view, wanted, query))


async def _chosen(session: Session, mailboxes: Mailboxes, sources: Sequence[Source]) -> list[Mailbox]:
    """The mailboxes to search in besides the selected one, each once."""
    if not sources:
        return []
    user = session.owner()
    known = [*await mailboxes.list(user), *await mailboxes.sharing.list(user)]
    return [mailbox for mailbox in known if any(source.covers(mailbox, user.id) for source in sources)]


async def _in_another(session: Session, command: Command, search: Search, mailbox: Mailbox) -> None:
    mailboxes = session.services.mailboxes
    try:
        other = await mailboxes.select(session.owner(), mailbox.name, True)
    except MailboxError:
        return
    try:
        uids, relevancies = await searching.found(session, other, search.returns, search.query)
        _tell(session, command, search, other, mailbox.name, uids, relevancies)
    except MailboxError:
        return
    finally:
        other.close()


def _tell(
    session: Session, command: Command, search: Search, view: Selected, name: str, uids: Sequence[int], relevancies: Sequence[int]
) -> None:
    """Where nothing was found, nothing is said (RFC 7377 2.1)."""
    if not uids:
        return
    wanted = search.returns or EVERYTHING
    correlator = b"%b MAILBOX %b UIDVALIDITY %d" % (esearch.tagged_by(command.tag), session.name(name), view.mailbox.uidvalidity)
    highest = esearch.highest(wanted, uids, lambda some: searching.highest(view, some)) if search.modseq else 0
    session.peer.write(esearch.response(correlator, True, wanted, uids, highest, relevancies))
