"""QUOTA (RFC 9208): one root, the account itself, one resource, STORAGE. An administrator sets it, no client."""

from mailx.core.mailboxes import Quota
from mailx.imap.answers import No
from mailx.imap.arrival import Command
from mailx.imap.session import Session

ROOT = b""


async def get_quota(session: Session, command: Command, root: bytes) -> None:
    if root != ROOT:
        raise No(b"No such quota root", b"NONEXISTENT")
    session.peer.write(_line(await session.services.mailboxes.quota(session.owner())))


async def get_quota_root(session: Session, command: Command, name: str) -> None:
    mailbox = await session.services.mailboxes.status(session.owner(), name)
    quota = await session.services.mailboxes.quota(session.owner())
    session.peer.write(b'* QUOTAROOT %b ""\r\n' % session.name(mailbox.name) + _line(quota))


async def set_quota(session: Session, command: Command, _: None) -> None:
    raise No(b"Quotas are set by the administrator", b"NOPERM")


def _line(quota: Quota) -> bytes:
    """STORAGE counts units of 1024 octets (RFC 9208 5.1); an unlimited account has no resource to show."""
    if not quota.limit:
        return b'* QUOTA "" ()\r\n'
    return b'* QUOTA "" (STORAGE %d %d)\r\n' % (-(-quota.used // 1024), quota.limit // 1024)
