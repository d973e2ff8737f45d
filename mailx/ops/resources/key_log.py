"""Key logs in the admin API: ours and those that are watched, audits, and evidence of forks."""

from mailx.core.accounts import DirectoryError
from mailx.core.key_log import KeyLog
from mailx.core.log_audit import NOTE, OK, UNREAD, WRONG, Finding, LogAudit, parse_name
from mailx.core.log_witness import LogWitness
from mailx.identity.encoding import b64
from mailx.identity.key_log import Head
from mailx.identity.statements import Statement
from mailx.mail.address import AddressError
from mailx.mail.log_leaf import KINDS, RECOVERY_KEY, USER_KEY
from mailx.ops.resources.query import JSON, Query, moment, running
from mailx.ops.resources.shape import COUNT, FLAG, TEXT, TIME, list_of, one_of, optional, record, shaped

_LIMIT = 1000  # logs that are listed
_EVIDENCE_LIMIT = 100
_ANY = {"type": "object"}
_HEAD = {"domain": TEXT, "ours": FLAG, "epoch": COUNT, "size": COUNT, "root": TEXT, "time": TIME, "seen": optional(TIME)}
_LINE = record(
    {
        **{"number": COUNT, "kind": one_of(*KINDS), "serial": COUNT, "revoked": FLAG, "time": TIME, "digest": TEXT},
        **dict.fromkeys(("key", "sealing", "reason"), optional(TEXT)),
    }
)
_FINDING = record(
    {
        **{"domain": TEXT, "name": TEXT, "ours": FLAG, "good": FLAG, "epoch": optional(COUNT), "size": optional(COUNT)},
        "root": optional(TEXT),
        "steps": list_of(record({"outcome": one_of(OK, NOTE, UNREAD, WRONG), "text": TEXT})),
        "entries": list_of(_LINE),
    }
)
_EVIDENCE = record({"domain": TEXT, "found": TIME, "reason": TEXT, "kept": _ANY, "shown": _ANY, "epochs": list_of(_ANY)})


class KeyLogs:
    """The logs of keys. Everything here only reads."""

    SCOPE = "keys"
    ROUTES = (
        ("/v1/key-logs", "GET", "all"),
        ("/v1/key-logs/<name>/audit", "GET", "audit"),
        ("/v1/key-evidence", "GET", "evidence"),
    )

    def __init__(self, log: KeyLog | None, witness: LogWitness | None, audits: LogAudit | None) -> None:
        self._log = log
        self._witness = witness
        self._audits = audits

    @shaped("List the key logs of this server and those that it watches.", gives=record({"logs": list_of(record(_HEAD))}))
    async def all(self, query: Query) -> JSON:
        log, witness = running(self._log, "key logs need a running server"), running(self._witness, "key logs need a running server")
        heads: list[tuple[Head, bool, int | None]] = [(await log.head(domain), True, None) for domain in await log.domains()]
        heads += [(each.head, False, each.seen) for each in await witness.all(_LIMIT)]
        return {
            "logs": [
                {
                    "domain": head.domain,
                    "ours": ours,
                    "epoch": head.epoch,
                    "size": head.size,
                    "root": b64(head.root),
                    "time": moment(head.time),
                    "seen": moment(seen),
                }
                for head, ours, seen in heads
            ]
        }

    @shaped("Prove the history of an address or of a domain's keys from the key log.", gives=_FINDING)
    async def audit(self, query: Query) -> JSON:
        audits = running(self._audits, "audits need a running server")
        try:
            domain, address = parse_name(query.path["name"])
        except AddressError:
            raise DirectoryError("invalid", "That is neither an address nor a domain", "Name one, as in: ada@example.com") from None
        return _shown(await audits.audit(domain, address))

    @shaped(
        "List evidence that logs were forked, to be shown to others.",
        query={"domain": TEXT},
        gives=record({"evidence": list_of(_EVIDENCE)}),
    )
    async def evidence(self, query: Query) -> JSON:
        witness = running(self._witness, "key logs need a running server")
        found = await witness.evidence(query.parameters.get("domain") or None, _EVIDENCE_LIMIT)
        return {
            "evidence": [
                {
                    "domain": each.domain,
                    "found": moment(each.found),
                    "reason": each.reason,
                    "kept": dict(each.kept),
                    "shown": dict(each.shown),
                    "epochs": list(each.epochs),
                }
                for each in found
            ]
        }


def _shown(finding: Finding) -> JSON:
    head = finding.head
    return {
        "domain": finding.domain,
        "name": finding.name,
        "ours": finding.ours,
        "good": finding.good,
        "epoch": None if head is None else head.epoch,
        "size": None if head is None else head.size,
        "root": None if head is None else b64(head.root),
        "steps": [{"outcome": step.outcome, "text": step.text} for step in finding.steps],
        "entries": [
            {
                "number": line.entry.number,
                "kind": line.entry.leaf.kind,
                "serial": line.entry.leaf.serial,
                "revoked": line.entry.leaf.revoked,
                "time": moment(line.entry.leaf.time),
                "digest": b64(line.entry.leaf.digest),
                **_keys(line.entry.leaf.kind, line.statement),
            }
            for line in finding.lines
        ],
    }


def _keys(kind: str, statement: Statement | None) -> dict[str, JSON]:
    """What the statement of an entry of that ``kind`` binds."""
    body = {} if statement is None else statement.body
    name = {USER_KEY: "signing", RECOVERY_KEY: "recovery"}.get(kind, "key")
    return {"key": body.get(name), "sealing": body.get("sealing"), "reason": body.get("reason")}
