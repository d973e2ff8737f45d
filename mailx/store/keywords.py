"""Keywords: the names of the flag bits above the system flags, per account.

An account has ``KEYWORDS_LIMIT`` of them at a time. They are compared without regard to case and shown as first
written. A bit is given free only when no entry of the account has it.
"""

from collections.abc import Iterable

from mailx.mail.mailbox import KEYWORD_BIT, KEYWORDS_LIMIT, Change
from mailx.mail.names import MailboxError
from mailx.store import Txn
from mailx.store.mailboxes import FieldCipher
from mailx.store.messages import scope

KEYWORD_LIMIT = 100  # octets of one keyword: names that programs choose, not text

_PURPOSE = b"keyword"


class KeywordsFull(MailboxError):
    """Every bit of the account is taken; :func:`free` may help."""

    def __init__(self) -> None:
        super().__init__("LIMIT", f"An account has at most {KEYWORDS_LIMIT} keywords")


def names(txn: Txn, cipher: FieldCipher, account_id: int) -> dict[int, str]:
    """Bit -> keyword, for every keyword of the account."""
    rows = txn.all("SELECT bit, hash, name FROM keywords WHERE account_id = ? ORDER BY bit", (account_id,))
    context = scope(account_id)
    return {bit: cipher.open(_PURPOSE, context + bytes(hash), bytes(sealed)).decode() for bit, hash, sealed in rows}


def find(txn: Txn, cipher: FieldCipher, account_id: int, keywords: Iterable[str]) -> int:
    """The bits of those of ``keywords`` that the account knows, as a mask."""
    mask = 0
    for keyword in keywords:
        row = txn.one("SELECT bit FROM keywords WHERE account_id = ? AND hash = ?", (account_id, _hash(cipher, account_id, keyword)))
        if row is not None:
            mask |= 1 << row[0]
    return mask


def assign(txn: Txn, cipher: FieldCipher, account_id: int, keywords: Iterable[str]) -> int:
    """The bits of ``keywords`` as a mask; new ones get a bit. Raises KeywordsFull, or MailboxError "LIMIT" for a name too long."""
    mask = 0
    for keyword in keywords:
        hash = _hash(cipher, account_id, keyword)
        row = txn.one("SELECT bit FROM keywords WHERE account_id = ? AND hash = ?", (account_id, hash))
        mask |= 1 << (row[0] if row is not None else _take(txn, cipher, account_id, keyword, hash))
    return mask


def used(txn: Txn, account_id: int) -> int:
    """The keyword bits that some entry of the account has, as a mask."""
    rows = txn.all(
        "SELECT DISTINCT e.flags FROM entries e JOIN mailboxes m ON m.id = e.mailbox_id WHERE m.account_id = ? AND e.flags >= ?",
        (account_id, 1 << KEYWORD_BIT),
    )
    mask = 0
    for (flags,) in rows:
        mask |= flags
    return mask


def free(txn: Txn, account_id: int) -> int:
    """Give up the keywords that no entry has; returns their number. Sessions are told to read the names again."""
    mailboxes = txn.all("UPDATE mailboxes SET modseq = modseq + 1 WHERE account_id = ? RETURNING id, modseq", (account_id,))
    in_use = used(txn, account_id)
    bits = [bit for (bit,) in txn.all("SELECT bit FROM keywords WHERE account_id = ?", (account_id,)) if not in_use >> bit & 1]
    txn.executemany("DELETE FROM keywords WHERE account_id = ? AND bit = ?", [(account_id, bit) for bit in bits])
    for mailbox_id, modseq in mailboxes:
        txn.publish(Change(mailbox_id, modseq, partial=True))
    return len(bits)


def _hash(cipher: FieldCipher, account_id: int, keyword: str) -> bytes:
    return cipher.hash(_PURPOSE, scope(account_id), keyword.casefold().encode())


def _take(txn: Txn, cipher: FieldCipher, account_id: int, keyword: str, hash: bytes) -> int:
    if len(keyword.encode()) > KEYWORD_LIMIT:
        raise MailboxError("LIMIT", f"A keyword has at most {KEYWORD_LIMIT} octets")
    if txn.dialect == "postgresql":  # two writers must not take the same bit
        txn.one("SELECT id FROM accounts WHERE id = ? FOR UPDATE", (account_id,))
    taken = {bytes(held): bit for held, bit in txn.all("SELECT hash, bit FROM keywords WHERE account_id = ?", (account_id,))}
    if hash in taken:
        return int(taken[hash])
    bit = next((bit for bit in range(KEYWORD_BIT, KEYWORD_BIT + KEYWORDS_LIMIT) if bit not in taken.values()), None)
    if bit is None:
        raise KeywordsFull
    sealed = cipher.seal(_PURPOSE, scope(account_id) + hash, keyword.encode())
    # Where another writer was faster, PostgreSQL then asks for the job to be run again, instead of refusing the row.
    txn.execute(
        "INSERT INTO keywords (account_id, bit, hash, name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (account_id, bit, hash, sealed)
    )
    return bit
