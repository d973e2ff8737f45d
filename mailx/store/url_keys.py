"""The keys of mailboxes that URLs are signed with (RFC 4467): one for each mailbox that a URL was made of, sealed.

Functions return None where there is no such mailbox or no key of it.
"""

from mailx.store import Txn, accounts
from mailx.store.cipher import Cipher
from mailx.store.mailboxes import Names, find

_PURPOSE = b"url key"


def of_mailbox(txn: Txn, cipher: Cipher, mailbox_id: int) -> bytes | None:
    row = txn.one("SELECT sealed FROM url_keys WHERE mailbox_id = ?", (mailbox_id,))
    return None if row is None else cipher.open(_PURPOSE, _context(mailbox_id), bytes(row[0]))


def ensure(txn: Txn, cipher: Cipher, names: Names, account_id: int, name: str, fresh: bytes) -> bytes:
    """The key of an account's own mailbox; ``fresh`` becomes it if there is none. Raises MailboxError "NONEXISTENT"."""
    mailbox_id = find(txn, names, account_id, name).id
    sealed = cipher.seal(_PURPOSE, _context(mailbox_id), fresh)
    txn.execute("INSERT INTO url_keys (mailbox_id, sealed) VALUES (?, ?) ON CONFLICT (mailbox_id) DO NOTHING", (mailbox_id, sealed))
    return of_mailbox(txn, cipher, mailbox_id) or fresh


def owner(txn: Txn, local: str, domain: str) -> tuple[int, bool] | None:
    """The id of an active account, and whether its mail is sealed for it alone."""
    row = accounts.by_name(txn, local, domain)
    return None if row is None or row[4] != "active" else (row[0], bool(row[8]))


def forget(txn: Txn, names: Names, account_id: int, name: str | None) -> None:
    """Remove the key of one mailbox, or of all of the account. Raises MailboxError "NONEXISTENT"."""
    if name is not None:
        txn.execute("DELETE FROM url_keys WHERE mailbox_id = ?", (find(txn, names, account_id, name).id,))
    else:
        txn.execute("DELETE FROM url_keys WHERE mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = ?)", (account_id,))


def _context(mailbox_id: int) -> bytes:
    return mailbox_id.to_bytes(8, "big")
