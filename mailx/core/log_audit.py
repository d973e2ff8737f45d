"""Proves the history of one address, or of one domain's keys, from the key log of its domain: ours or another's.

Proofs of single entries cannot show that nothing is missing, so the whole log is read: from the first entry to the head
that its domain signed, which must continue the head that was kept here. Every step is told with what came of it. What a
step finds wrong is a result and no error; only a store that does not answer raises.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from mailx.core.key_log import LEAVES_LIMIT, KeyLog
from mailx.core.log_gossip import Believed, Source
from mailx.core.log_witness import FORK, LOST, UNPROVED, Away, LogWitness
from mailx.identity import domain_keys, key_log, user_keys
from mailx.identity.encoding import Malformed
from mailx.identity.key_log import HISTORY_LIMIT, Entry, Head, Reader
from mailx.identity.statements import Statement
from mailx.identity.vrf import PROOF_SIZE
from mailx.mail.address import Address, AddressError
from mailx.mail.log_leaf import DOMAIN_KEY, LEAF_SIZE, RECOVERY_KEY, USER_KEY

P = ParamSpec("P")
T = TypeVar("T")

SIZE_LIMIT = 1_000_000  # entries of a log that is read whole
OK, NOTE, UNREAD, WRONG = "ok", "note", "unread", "wrong"

Used = Callable[[Address], Awaitable[Sequence[Statement]]]
"""What is kept here of the keys of a remote address, and so used for its mail."""


@frozen
class Step:
    """One thing that was looked at."""

    outcome: str  # OK, NOTE, UNREAD (it says nothing of the log) or WRONG
    text: str


@frozen
class Line:
    """One entry, with the statement that it is about if its domain showed that."""

    entry: Entry
    statement: Statement | None


@frozen
class Finding:
    """What an audit brought."""

    domain: str
    name: str
    ours: bool
    head: Head | None
    lines: tuple[Line, ...]
    steps: tuple[Step, ...]

    @property
    def good(self) -> bool:
        """Whether all was proved and nothing is wrong."""
        return all(step.outcome in (OK, NOTE) for step in self.steps)


@frozen
class _Subject:
    kind: str
    name: str
    label: bytes = b""
    entries: tuple[Entry, ...] = ()
    statements: tuple[Statement, ...] = ()


class _Stop(Exception):
    """The audit cannot go on; what is wrong stands in the steps."""


@frozen
class _Log:
    """How the log under audit is read."""

    domain: str
    head: Callable[[], Awaitable[object]]
    history: Callable[[str, str], Awaitable[Mapping[str, Any]]]
    leaves: Callable[[int, int], Awaitable[Sequence[object]]]
    epochs: Callable[[], Awaitable[Sequence[object]]]
    keys: Collection[bytes]
    steps: list[Step] = field(factory=list)

    def say(self, outcome: str, text: str) -> None:
        self.steps.append(Step(outcome, text))

    def stop(self, text: str) -> _Stop:
        self.say(WRONG, text)
        return _Stop(text)


class LogAudit:
    """Audits, of whatever log can be reached. Without ``used`` nothing is said of the keys that are used here."""

    def __init__(
        self, *, key_log: KeyLog, witness: LogWitness, believed: Believed, source: Source, reactor: Any, used: Used | None = None
    ) -> None:
        self._used = used
        self._log = key_log
        self._witness = witness
        self._believed = believed
        self._source = source
        self._reactor = reactor

    async def audit(self, domain: str, address: Address | None = None) -> Finding:
        """Audit ``address``, or the keys of ``domain``. Raises Unavailable."""
        ours = self._log.ours(domain)
        name = domain if address is None else f"{address.local}@{address.domain}"
        kinds = (DOMAIN_KEY, RECOVERY_KEY) if address is None else (USER_KEY,)
        log = self._own(domain) if ours else self._theirs(domain, await self._believed(domain))
        head: Head | None = None
        lines: list[Line] = []
        try:
            if not log.keys:
                log.say(UNREAD, f"no key of {domain} is known here; look for its server: mailxctl peer discover {domain}")
                raise _Stop
            subjects = []
            for kind in kinds:
                subjects.append(await self._subject(log, kind, name))
                log.say(OK, f"the label of {name} ({kind}) is proved, and each of its entries")
            head = await self._head(log, ours)
            subjects = await self._replay(log, head, subjects)
            keys = {*log.keys, *await self._keys_of(log, subjects)}
            for subject in subjects:
                lines += await self._apart(_lines, log, subject, keys)
            if address is not None and not ours:
                await self._compare(log, address, lines)
        except _Stop:
            pass
        except Away as error:
            log.say(UNREAD, f"the server of {domain} did not answer: {error.reason}")
        except Malformed as error:
            log.say(WRONG, f"the log is not sound: {error}")
        if not ours:
            await self._evidence(log)
        return Finding(domain, name, ours, head, tuple(sorted(lines, key=lambda line: line.entry.number)), tuple(log.steps))

    # How the two kinds of logs are read.

    def _own(self, domain: str) -> _Log:
        log = self._log

        async def head() -> object:
            return key_log.octets((await log.head(domain)).statement)

        async def history(kind: str, name: str) -> Mapping[str, Any]:
            found = await log.history(domain, kind, name)
            entries = [[each.number, each.leaf.encode(), b"".join(path)] for each, path in zip(found.entries, found.proofs, strict=True)]
            statements = [key_log.octets(each) for each in found.statements]
            return {"head": key_log.octets(found.head.statement), "label": found.label, "entries": entries, "statements": statements}

        async def leaves(first: int, count: int) -> Sequence[object]:
            return await log.leaves(domain, first, count)

        async def epochs() -> Sequence[object]:
            return [key_log.octets(each.statement) for each in await log.epochs(domain)]

        return _Log(domain, head, history, leaves, epochs, log.keys(domain))

    def _theirs(self, domain: str, keys: Collection[bytes]) -> _Log:
        ask = self._source.to("", domain)

        async def head() -> object:
            return (await ask("log_head", {})).get("head")

        async def history(kind: str, name: str) -> Mapping[str, Any]:
            return await ask("log_history", {"kind": kind, "name": name})

        async def leaves(first: int, count: int) -> Sequence[object]:
            return _listed((await ask("log_leaves", {"first": first, "count": count})).get("leaves"), count)

        async def epochs() -> Sequence[object]:
            return _listed((await ask("log_epochs", {})).get("epochs"), 100)

        return _Log(domain, head, history, leaves, epochs, keys)

    # The steps.

    async def _subject(self, log: _Log, kind: str, name: str) -> _Subject:
        """What the log says at once about a subject."""
        return await self._apart(_read_subject, log, kind, name, await log.history(kind, name))

    async def _head(self, log: _Log, ours: bool) -> Head:
        """The head that the audit is about."""
        before = None if ours else await self._witness.kept(log.domain)
        value = await log.head()
        head = key_log.read_head(value, log.domain)
        if not any(head.statement.signed_by(key) for key in log.keys):
            raise log.stop(f"the head of the log is not signed by a key of {log.domain} that is believed here")
        if ours:
            log.say(OK, f"our log has {head.size} entries in epoch {head.epoch}")
            return head
        verdict = await self._witness.seen(log.domain, value, log.keys, self._source.to("", log.domain))
        log.say(OK, f"the log has {head.size} entries in epoch {head.epoch}, signed by {log.domain}")
        if verdict == FORK:
            log.say(WRONG, "it does not continue the log that was seen here before: it was forked")
        elif verdict == LOST:
            log.say(WRONG, "it was restored, and entries that were seen here before are not certain to be in it")
        elif before is not None and (head.epoch, head.size) < (before.head.epoch, before.head.size):
            log.say(WRONG, f"it holds back entries: {before.head.size} in epoch {before.head.epoch} were seen here before")
        elif verdict == UNPROVED:
            log.say(WRONG, "it is not proved that it continues the log that was seen here before")
        elif before is None:
            log.say(NOTE, "no head of this log was seen here before")
        else:
            log.say(OK, f"it continues the {before.head.size} entries that were seen here before")
        if before is not None and before.head.vrf != head.vrf:
            log.say(WRONG, "its labels are proved with another key than before")
        return head

    async def _replay(self, log: _Log, head: Head, subjects: Sequence[_Subject]) -> list[_Subject]:
        """Read all entries; the subjects with what they say."""
        if head.size > SIZE_LIMIT:
            raise log.stop(f"the log has more than {SIZE_LIMIT} entries, which is more than is read")
        reader = Reader({each.label: each.kind for each in subjects})
        while reader.size < head.size:
            came = await log.leaves(reader.size, min(LEAVES_LIMIT, head.size - reader.size))
            leaves = [each for each in came if isinstance(each, bytes) and len(each) == LEAF_SIZE]
            if not leaves or len(leaves) < len(came):
                raise Malformed(f"entry {reader.size} is missing")
            await self._apart(_add, reader, leaves)
        reader.finish(head)
        log.say(OK, f"all {head.size} entries were read, and they are what the head signs")
        for each in await log.epochs():
            epoch = key_log.read_epoch(each, log.domain)
            log.say(NOTE, f"epoch {epoch.epoch} was begun after a restore: of {epoch.size} entries, {epoch.kept} were certain to be kept")
        return [evolve(each, entries=tuple(reader.found[each.label])) for each in subjects]

    async def _keys_of(self, log: _Log, subjects: Sequence[_Subject]) -> set[bytes]:
        """The keys that the domain ever had, as its log has them: what they signed may be old, and is no forgery."""
        found = next((each for each in subjects if each.kind == DOMAIN_KEY), None) or await self._subject(log, DOMAIN_KEY, log.domain)
        digests = {entry.leaf.digest for entry in found.entries}
        return {domain_keys.DomainKey.of(each).key for each in found.statements if each.digest in digests}

    async def _compare(self, log: _Log, address: Address, lines: Sequence[Line]) -> None:
        """Whether the keys that are used here for the address are those of the log."""
        if self._used is None:
            return
        used = await self._used(address)
        digests = [line.entry.leaf.digest for line in lines]
        if not used:
            log.say(NOTE, f"no keys of {address} are used here")
        for statement in used:
            if statement.digest not in digests:
                log.say(WRONG, f"keys of {address} that are used here are not in the log: they may be forged")
                return
        if used and lines and used[-1].digest == digests[-1]:
            log.say(OK, f"the keys of {address} that are used here are the last of the log")
        elif used:
            log.say(NOTE, f"the log has later keys of {address} than those that are used here")

    async def _evidence(self, log: _Log) -> None:
        found = await self._witness.evidence(log.domain)
        if found:
            log.say(WRONG, f"{len(found)} times other entries were shown under the same name: mailxctl key evidence {log.domain}")

    def _apart(self, call: Callable[P, T], *args: P.args, **options: P.kwargs) -> "Deferred[T]":
        """Signatures and hashes of many entries are for a thread."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), call, *args, **options)


def parse_name(text: str) -> tuple[str, Address | None]:
    """The domain and the address that somebody wants audited; raises AddressError."""
    if "@" not in text:
        return Address.parse(f"postmaster@{text}").domain, None
    address = Address.parse(text.lower())
    if not address.domain:
        raise AddressError("an address without a domain")
    return address.domain, address


def _read_subject(log: _Log, kind: str, name: str, answer: Mapping[str, Any]) -> _Subject:
    """What an answer says about a subject, every entry proved by itself. Raises _Stop, Malformed."""
    head = key_log.read_head(answer.get("head"), log.domain)
    if not any(head.statement.signed_by(key) for key in log.keys):
        raise log.stop(f"the head of the log is not signed by a key of {log.domain} that is believed here")
    proof = answer.get("label")
    if not isinstance(proof, bytes) or len(proof) != PROOF_SIZE:
        raise Malformed("no proof of the label")
    label = key_log.proved_label(head.vrf, kind, name, proof)
    entries = []
    for each in _listed(answer.get("entries"), HISTORY_LIMIT):
        number, octets, path = _listed(each, 3, 3)
        entry = key_log.read_entry(number, octets)
        if entry.leaf.label != label:
            raise Malformed(f"entry {entry.number} is about somebody else")
        key_log.check_included(entry, key_log.hashes(path), head)
        entries.append(entry)
    signed = user_keys.KIND if kind == USER_KEY else domain_keys.KIND
    statements = [Statement.decode(key_log.plain(each), signed) for each in _listed(answer.get("statements"), HISTORY_LIMIT)]
    return _Subject(kind, name, label, tuple(entries), tuple(statements))


def _add(reader: Reader, leaves: Sequence[bytes]) -> None:
    for each in leaves:
        reader.add(each)


def _lines(log: _Log, subject: _Subject, keys: Collection[bytes]) -> list[Line]:
    """The entries with their statements; says what is wrong with these."""
    told = {each.digest: each for each in subject.statements}
    lines = [Line(entry, told.get(entry.leaf.digest)) for entry in subject.entries]
    missing = sum(line.statement is None for line in lines)
    if not lines:
        log.say(NOTE, f"the log has no entries of {subject.name} ({subject.kind})")
    if missing:
        log.say(NOTE, f"of {missing} entries the statements are kept no more")
    for line in lines:
        if line.statement is not None and (problem := _problem(line.statement, subject, line.entry, keys)):
            log.say(WRONG, f"entry {line.entry.number}: {problem}")
    if lines and lines[-1].entry.leaf.revoked:
        log.say(NOTE, f"the last entry revokes the keys of {subject.name}")
    return lines


def _problem(statement: Statement, subject: _Subject, entry: Entry, keys: Collection[bytes]) -> str:
    """What is wrong with a statement; "" for nothing."""
    if not any(statement.signed_by(key) for key in keys):
        return "its statement is signed by no key of the domain"
    try:
        if subject.kind == USER_KEY:
            attested = user_keys.Attestation.of(statement)
            named, serial, revoked = str(attested.address), attested.serial, attested.revoked
        else:
            key = domain_keys.DomainKey.of(statement)
            named, serial, revoked = key.domain, key.serial, False
    except Malformed as error:
        return f"its statement is not sound: {error}"
    if named != subject.name or serial != entry.leaf.serial or revoked != entry.leaf.revoked:
        return "it tells something else than its statement"
    return ""


def _listed(value: object, most: int, least: int = 0) -> list[Any]:
    """``value`` if it is a list of so many items; raises Malformed."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise Malformed("a list is missing or too long")
    return value
