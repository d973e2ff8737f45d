"""The keys of domains and users in the admin API. Private halves never leave, except sealed in a backup."""

from mailx.core.domain_keys import DomainKeys
from mailx.core.key_backup import KeyBackup
from mailx.core.user_keys import Attestation, UserKeys
from mailx.core.users import DirectoryError, canonical_domain, domain_name, parse
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import key_text
from mailx.identity.key_backup import PASSPHRASE_LEAST
from mailx.identity.user_keys import sealing_text
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, TEXT, TIME, list_of, name, one_of, optional, record, shaped, text

_REASONS = (domain_keys.FIRST, domain_keys.ROTATION, domain_keys.RECOVERY, domain_keys.RECOVERY_KEY)
_SECRET = text(1024, 1, format="password")
_PASSPHRASE = text(1024, PASSPHRASE_LEAST, format="password")
_STATEMENT = record(
    {"key": TEXT, "serial": COUNT, "created": TIME, "reason": one_of(*_REASONS), "recovery": TEXT, "valid": FLAG, "until": optional(TIME)}
)
_DOMAIN = record(
    {
        **dict.fromkeys(("domain", "key", "recovery", "record", "document"), TEXT),
        "opens": FLAG,
        "serial": COUNT,
        "since": TIME,
        "recoveries": list_of(TEXT),
        "history": list_of(_STATEMENT),
    }
)
_MADE = record({"domain": TEXT, "recovery_key": TEXT})
_ATTESTED = record(
    {
        **dict.fromkeys(("address", "sealing", "signing"), TEXT),
        "holder": one_of("server", "client"),
        "serial": COUNT,
        **dict.fromkeys(("valid_from", "valid_until"), TIME),
        "revoked": FLAG,
        "good": FLAG,
    }
)


class DomainKeyring:
    """The keys of the domains, their recovery keys and backups, and the attested keys of users."""

    SCOPE = "keys"
    ROUTES = (
        ("/v1/keys", "GET", "all"),
        ("/v1/keys/<domain>", "GET", "show"),
        ("/v1/keys/<domain>/rotate", "POST", "rotate"),
        ("/v1/keys/<domain>/recover", "POST", "recover"),
        ("/v1/keys/<domain>/recovery", "POST", "recovery"),
        ("/v1/user-keys/<address>", "GET", "user"),
        ("/v1/key-backup", "POST", "backup"),
        ("/v1/key-restore", "POST", "restore"),
    )

    def __init__(self, keys: DomainKeys | None, users: UserKeys | None, backup: KeyBackup | None) -> None:
        self._optional = keys
        self._users = users
        self._backup = backup

    @shaped("List the keys of all domains.", gives=record({"domains": list_of(_DOMAIN)}))
    async def all(self, query: Query) -> JSON:
        return {"domains": [self._shown(name) for name in sorted(self._keys.domains())]}

    @shaped("Show the keys of a domain and their history.", gives=_DOMAIN)
    async def show(self, query: Query) -> JSON:
        return self._shown(domain_name(query.path["domain"]))

    @shaped("Replace the key of a domain; the old one announces the new one.", action="keys.rotate", gives=_DOMAIN)
    async def rotate(self, query: Query) -> JSON:
        return self._shown((await self._keys.rotate(query.path["domain"])).domain)

    @shaped(
        "Revoke the key of a domain and replace it at once, by its recovery key.",
        action="keys.recover",
        body=record({"recovery_key": _SECRET}, lost=FLAG),
        gives=_DOMAIN,
    )
    async def recover(self, query: Query) -> JSON:
        """With ``lost`` also where this server does not know the history that the recovery key belongs to."""
        key = await self._keys.recover(query.path["domain"], query.text("recovery_key"), query.body.get("lost") is True)
        return self._shown(key.domain)

    @shaped("Make another recovery key.", action="keys.recovery", body=record(recovery_key=_SECRET), gives=_MADE)
    async def recovery(self, query: Query) -> JSON:
        """``recovery_key`` is the one before, if it is at hand: then the new one is good at once. The answer has the only copy."""
        domain = domain_name(query.path["domain"])
        before = query.text("recovery_key") if "recovery_key" in query.body else ""
        return {"domain": domain, "recovery_key": await self._keys.change_recovery(domain, before)}

    @shaped("Show the attested keys of a user and their history.", gives=record({"keys": list_of(_ATTESTED)}))
    async def user(self, query: Query) -> JSON:
        address = parse(query.path["address"])
        users = running(self._users, "no keys can be opened here")
        history = await users.history(address)
        if not history and canonical_domain(address.domain) not in self._keys.domains():
            text = f"{address.domain} is not a domain of this server"
            raise DirectoryError("not_found", text, f"`mailxctl key audit {address}` shows keys elsewhere, and proves them.")
        current = await users.of(address)
        return {"keys": [_attested(each, each == current) for each in history]}

    @shaped(
        "Back up the keys of all domains, sealed under a passphrase.",
        action="keys.backup",
        body=record({"passphrase": _PASSPHRASE}, domains=list_of(name(255), 1000)),
        gives=record({"backup": TEXT, "domains": list_of(TEXT)}),
    )
    async def backup(self, query: Query) -> JSON:
        """``domains`` are those that it is about; without it, all."""
        chosen = query.body.get("domains", [])
        made, domains = await running(self._backup, "no keys can be opened here").backup(query.text("passphrase"), chosen)
        return {"backup": made, "domains": list(domains)}

    @shaped(
        "Take the keys of a backup.",
        action="keys.restore",
        body=record({"backup": TEXT, "passphrase": _SECRET}, force=FLAG),
        gives=record({"domains": list_of(record({"domain": TEXT, "became": TEXT}))}),
    )
    async def restore(self, query: Query) -> JSON:
        """With ``force`` also in place of other keys that a domain has here."""
        force = query.body.get("force") is True
        became = await running(self._backup, "no keys can be opened here").restore(query.text("backup"), query.text("passphrase"), force)
        return {"domains": [{"domain": domain, "became": what} for domain, what in became.items()]}

    @property
    def _keys(self) -> DomainKeys:
        return running(self._optional, "no keys can be opened here")

    def _shown(self, domain: str) -> JSON:
        return domain_shown(self._keys, domain)


def domain_shown(keys: DomainKeys, domain: str) -> dict[str, JSON]:
    """What administrators see of the keys of ``domain``; raises DirectoryError."""
    overview = keys.overview(domain)
    current = overview.history[-1]
    return {
        "domain": domain,
        "key": key_text(current.key),
        "recovery": key_text(current.recovery),
        "record": overview.record,
        "document": overview.document,
        "opens": overview.opens,
        "serial": current.serial,
        "since": moment(overview.since),
        "recoveries": [key_text(each) for each in overview.recoveries],
        "history": [_statement(key, overview.ends.get(key.serial), key.key in overview.valid) for key in reversed(overview.history)],
    }


def _statement(key: DomainKey, until: int | None, valid: bool) -> JSON:
    return {
        "key": key_text(key.key),
        "serial": key.serial,
        "created": moment(key.created),
        "reason": key.reason,
        "recovery": key_text(key.recovery),
        "valid": valid,
        "until": moment(until),
    }


def _attested(each: Attestation, good: bool) -> JSON:
    return {
        "address": str(each.address),
        "sealing": sealing_text(each.sealing),
        "signing": key_text(each.signing),
        "holder": each.holder,
        "serial": each.serial,
        "valid_from": moment(each.valid_from),
        "valid_until": moment(each.valid_until),
        "revoked": each.revoked,
        "good": good,
    }
