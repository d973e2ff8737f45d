"""Metadata: rows of ``metadata``, entries with values that hang on mailboxes or on the server (RFC 5464).

A private entry is one account's; a shared one is seen by all who may look the mailbox up. Names and values are sealed, an
entry is found by a keyed hash. What a mailbox's owner is charged for are the shared entries of its mailboxes and the
owner's private ones; a guest is charged for its own. A "no" is a MailboxError, before anything was written.
"""

from collections.abc import Mapping, Sequence
from os import urandom

from mailx.mail.mailbox import AccountChange, of_account
from mailx.mail.names import MailboxError
from mailx.store import Row, Txn
from mailx.store.mailboxes import FieldCipher
from mailx.store.messages import scope

ENTRIES_LIMIT = 256  # of one mailbox, private ones of each account apart
STORAGE_LIMIT = 1048576  # octets of values that one account may keep

_PURPOSE = b"metadata"

Values = dict[str, bytes]


def all_of(txn: Txn, cipher: FieldCipher, mailbox_id: int | None, account_id: int) -> Values:
    """Every entry that the account sees of a mailbox (None: of the server), by its name with /private or /shared in front."""
    rows = txn.all(
        "SELECT guid, sealed FROM metadata WHERE coalesce(mailbox_id, 0) = ? AND coalesce(account_id, 0) IN (0, ?)",
        (mailbox_id or 0, account_id),
    )
    found: Values = {}
    for guid, sealed in rows:
        name, _, value = cipher.open(_PURPOSE, bytes(guid), bytes(sealed)).partition(b"\0")
        found[name.decode()] = value
    return found


def put(txn: Txn, cipher: FieldCipher, mailbox_id: int | None, owner_id: int, account_id: int, values: Mapping[str, bytes | None]) -> None:
    """Set or remove (None) entries, all or none. ``owner_id``: whose mailbox it is, 0 for the server.

    Raises MailboxError "METADATA TOOMANY" or "OVERQUOTA".
    """
    if txn.dialect == "postgresql":
        for id in sorted({owner_id, account_id} - {0}):
            txn.one("SELECT 1 FROM accounts WHERE id = ? FOR UPDATE", (id,))
    for name, value in values.items():
        account = account_id if name.startswith("/private/") else 0
        hash = cipher.hash(_PURPOSE, scope(mailbox_id or 0) + scope(account), name.encode())
        txn.execute(
            "DELETE FROM metadata WHERE coalesce(mailbox_id, 0) = ? AND coalesce(account_id, 0) = ? AND hash = ?",
            (mailbox_id or 0, account, hash),
        )
        if value is not None:
            guid = urandom(16)
            sealed = cipher.seal(_PURPOSE, guid, name.encode() + b"\0" + value)
            txn.execute(
                "INSERT INTO metadata (mailbox_id, account_id, hash, guid, sealed, size) VALUES (?, ?, ?, ?, ?, ?)",
                (mailbox_id, account or None, hash, guid, sealed, len(value)),
            )
    if any(value is not None for value in values.values()):
        _check(txn, mailbox_id, owner_id, account_id)
    # What somebody keeps for themselves on another's mailbox is not even named to its owner.
    for told, prefix in ((account_id, "/private/"), (owner_id or account_id, "/shared/")):
        named = tuple([name for name in values if name.startswith(prefix)])
        if named:
            txn.publish(of_account(AccountChange(told, "metadata", mailbox_id or 0, entries=named)))


def used(txn: Txn, account_id: int) -> int:
    """Octets of values that an account keeps."""
    row = txn.one(
        "SELECT coalesce(sum(size), 0) FROM metadata WHERE account_id = ?"
        " OR (account_id IS NULL AND mailbox_id IN (SELECT id FROM mailboxes WHERE account_id = ?))",
        (account_id, account_id),
    )
    return 0 if row is None else int(row[0])


def _check(txn: Txn, mailbox_id: int | None, owner_id: int, account_id: int) -> None:
    counts: Sequence[Row] = txn.all(
        "SELECT count(*) FROM metadata WHERE coalesce(mailbox_id, 0) = ? AND coalesce(account_id, 0) IN (0, ?) GROUP BY account_id",
        (mailbox_id or 0, account_id),
    )
    if any(count > ENTRIES_LIMIT for (count,) in counts):
        raise MailboxError("METADATA TOOMANY", "There are too many entries")
    for id in {owner_id, account_id} - {0}:
        if used(txn, id) > STORAGE_LIMIT:
            raise MailboxError("OVERQUOTA", "The values would exceed what an account may keep")
