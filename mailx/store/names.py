"""The names of one domain: accounts and aliases share them, so whoever adds one locks the domain first.

``Missing`` and ``Taken`` are how jobs of the directory and of administrators say no; the transaction they rise in is undone.
"""

from mailx.store import Txn


class Missing(LookupError):
    """What the job was to work on does not exist; ``kind`` is "domain", "account", "alias", "block", "administrator", ..."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no {kind} {name}")
        self.kind = kind
        self.name = name


class Taken(Exception):
    """The name is in use by another ``kind`` ("domain", "account", "alias", "administrator", ...)."""

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


def listed(table: str, domain: str | None, text: str, after: tuple[str, str]) -> tuple[str, list[object]]:
    """More conditions on ``domains d`` and a ``table`` of names, and their parameters: those of a page of names.

    They are behind ``after`` (domain, local), of ``domain`` unless it is None, and have ``text`` somewhere in their address.
    """
    conditions = f" AND d.name >= ? AND (d.name > ? OR {table}.local > ?)"
    parameters: list[object] = [after[0], *after]
    if domain is not None:
        conditions += " AND d.name = ?"
        parameters.append(domain)
    if text:
        conditions += f" AND {table}.local || '@' || d.name LIKE ? ESCAPE '!'"
        parameters.append(containing(text))
    return conditions, parameters


def containing(text: str) -> str:
    """The pattern of LIKE, with ``ESCAPE '!'``, for what has ``text`` in it."""
    for special in "!%_":
        text = text.replace(special, "!" + special)
    return f"%{text}%"
