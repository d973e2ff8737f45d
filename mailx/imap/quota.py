"""QUOTA (RFC 9208): one root for each account. Its name is empty for the account itself; administrators reach those of others.

What is not limited has no line: an account without a quota has no STORAGE to show.
"""

from attrs import frozen

from mailx.core.mailboxes import Quota
from mailx.core.quotas import MESSAGE, STORAGE, UNIT
from mailx.imap import text
from mailx.imap.answers import Bad, No
from mailx.imap.arrival import Command
from mailx.imap.session import Session
from mailx.imap.tokens import MODSEQ_LIMIT, Tokens

RESOURCES_LIMIT = 16  # of one SETQUOTA


@frozen
class Limits:
    """What SETQUOTA asks for."""

    root: str
    limits: tuple[tuple[str, int], ...]


def root(tokens: Tokens) -> str:
    tokens.space()
    found = _root(tokens)
    tokens.end()
    return found


def limits(tokens: Tokens) -> Limits:
    tokens.space()
    found = _root(tokens)
    tokens.space()
    tokens.expect(b"(")
    wanted: dict[str, int] = {}
    if not tokens.take(b")"):
        while True:
            if len(wanted) == RESOURCES_LIMIT:
                raise Bad(b"Too many resources", b"LIMIT")
            resource = tokens.keyword().decode("ascii")
            tokens.space()
            wanted[resource] = tokens.number(MODSEQ_LIMIT)
            if not tokens.take(b" "):
                break
        tokens.expect(b")")
    tokens.end()
    return Limits(found, tuple(wanted.items()))


def _root(tokens: Tokens) -> str:
    return tokens.astring().decode("utf-8", "replace")


async def get_quota(session: Session, command: Command, name: str) -> None:
    quotas = session.services.quotas
    if quotas is not None:
        quota = await quotas.get(session.owner(), name)
    elif name:
        raise No(b"No such quota root", b"NONEXISTENT")
    else:
        quota = await session.services.mailboxes.quota(session.owner())
    session.peer.write(_line(name, quota))


async def get_quota_root(session: Session, command: Command, name: str) -> None:
    """What another owner's mailboxes take is that owner's affair: no root is named for them."""
    mailbox = await session.services.mailboxes.status(session.owner(), name)
    if mailbox.account != session.owner().id:
        session.peer.write(b"* QUOTAROOT %b\r\n" % session.name(mailbox.name))
        return
    quota = await session.services.mailboxes.quota(session.owner())
    session.peer.write(b'* QUOTAROOT %b ""\r\n' % session.name(mailbox.name) + _line("", quota))


async def set_quota(session: Session, command: Command, asked: Limits) -> None:
    quotas = session.services.quotas
    if quotas is None:
        raise No(b"Quotas are set by the administrator", b"NOPERM")
    quota = await quotas.set(session.owner(), asked.root, dict(asked.limits), session.origin.address)
    session.peer.write(_line(asked.root, quota))


def _line(name: str, quota: Quota) -> bytes:
    """STORAGE and ANNOTATION-STORAGE count units of 1024 octets (RFC 9208 5)."""
    resources = []
    if quota.limit:
        resources.append((STORAGE, -(-quota.used // UNIT), quota.limit // UNIT))
    if quota.messages_limit is not None:
        resources.append((MESSAGE, quota.messages, quota.messages_limit))
    resources.append(("MAILBOX", quota.mailboxes, quota.mailboxes_limit))
    resources.append(("ANNOTATION-STORAGE", -(-quota.annotations // UNIT), quota.annotations_limit // UNIT))
    shown = b" ".join([b"%b %d %d" % (word.encode("ascii"), used, limit) for word, used, limit in resources])
    return b"* QUOTA %b (%b)\r\n" % (text.astring(name.encode()) if name else b'""', shown)
