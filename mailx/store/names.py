"""The names of one domain: accounts and aliases share them, so whoever adds one locks the domain first.

``Missing`` and ``Taken`` are how the directory's jobs say no; the transaction they rise in is undone.
"""

from mailx.store import Txn


class Missing(LookupError):
    """What the job was to work on does not exist; ``kind`` is "domain", "account", "alias" or "block"."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} {name}")
        self.kind = kind
        self.name = name


class Taken(Exception):
    """The name is in use by another ``kind`` ("domain", "account" or "alias")."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} exists")
        self.kind = kind
        self.name = name


def lock(txn: Txn, domain: str) -> int:
    """The id of ``domain``, whose names nobody else can add or remove until the commit; raises Missing.

    An UPDATE takes the row's lock in both engines; two transactions could otherwise each see a name free.
    """
    row = txn.one("UPDATE domains SET name = name WHERE name = ? RETURNING id", (domain,))
    if row is None:
        raise Missing("domain", domain)
    return int(row[0])


def claim(txn: Txn, domain_id: int, local: str, domain: str) -> None:
    """Make sure that ``local`` is free in the locked domain; raises Taken."""
    for kind, table in (("account", "accounts"), ("alias", "aliases")):
        if txn.one(f"SELECT 1 FROM {table} WHERE domain_id = ? AND local = ?", (domain_id, local)):
            raise Taken(kind, f"{local}@{domain}")
