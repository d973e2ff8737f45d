"""Opening sealed messages: what is inside, behind a field that says what the seal was worth.

The container is read to its end before anything of it counts; then it is read again, in pieces, by whoever stores it. So memory holds a
chunk, and nobody sees half of a message that turns out damaged. What cannot be opened is kept as it came, marked.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Protocol

from attrs import frozen
from twisted.logger import Logger

from mailx.core import headers, metrics
from mailx.core.content import Threads
from mailx.core.peer import Known
from mailx.core.unsealed import Looked, Source, framed, inner, look, marked
from mailx.core.users import canonical_domain
from mailx.identity import domain_keys
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import Malformed
from mailx.identity.seal_verdict import ARRIVAL, FAIL, PASS, PERMERROR, Believed, Verdict, author_of, judged
from mailx.identity.sealing import NotForUs, Proof
from mailx.identity.user_keys import Attestation, accepted
from mailx.mail.address import Address
from mailx.mail.canonical import Mail
from mailx.mail.reply import Refused

log = Logger()


class OwnKeys(Protocol):
    """The keys of our domains: ``core.domain_keys.DomainKeys``."""

    def history(self, domain: str) -> Sequence[DomainKey]:
        """Every key that the domain had, oldest first; KeyError if it has none."""


class UserKeys(Protocol):
    """The keys of our users: ``core.user_keys.UserKeys``."""

    async def history(self, address: Address) -> Sequence[Attestation]: ...


class RemoteKeys(Protocol):
    """The keys of users elsewhere: ``core.remote_keys.RemoteKeys``."""

    async def signers(self, address: Address, seconds: float, sender: str = "") -> Sequence[Attestation]: ...


class Trust(Protocol):
    """The keys of others' domains: ``core.peers.Peers``."""

    async def keys(self, domain: str, presented: bytes) -> Collection[bytes]: ...

    async def state(self, domain: str) -> Known: ...


class Belief:
    """What this server believes of those who vouch for sealed messages. ``seconds``: how long it waits for others' keys."""

    def __init__(
        self, own: OwnKeys, users: UserKeys, remote: RemoteKeys, trust: Trust, *, local: Callable[[str], bool], seconds: Callable[[], float]
    ) -> None:
        self._own = own
        self._users = users
        self._remote = remote
        self._trust = trust
        self._local = local
        self._seconds = seconds

    async def about(self, proof: Proof, received: int) -> Believed:
        """The keys to judge ``proof`` by, of a message that came at ``received``; never raises."""
        try:
            if proof.attestation is None:
                return await self._domain(proof.domain, received)
            return await self._user(proof.attestation.address, received)
        except (Refused, KeyError):
            return Believed()
        except Exception:
            log.failure("The keys of a sealed message's sender were not looked up", event="sealing.lookup_failed")
            return Believed()

    async def _domain(self, domain: str, received: int) -> Believed:
        """Keys that were good when the message came are good for it, however late its owner opens it; revoked ones are not."""
        if self._local(domain):
            return Believed(keys=domain_keys.valid(self._own.history(domain), received))
        keys = await self._trust.keys(domain, b"")
        return Believed(keys={*keys, *(await self._trust.state(domain)).keys(received)} if keys else None)

    async def _user(self, address: Address, received: int) -> Believed:
        if self._local(address.domain):
            signers: Sequence[Attestation] = accepted(await self._users.history(address), received)
        else:
            signers = await self._remote.signers(address, self._seconds())
            if not signers:  # they were revoked, or nobody answers
                return Believed()
        return Believed(signers={each.signing: each.holder for each in reversed(signers)})


@frozen
class Unsealed:
    """A message to store in place of the sealed one.

    ``pieces`` yields its content from the beginning at each call and runs in a thread; ``size`` is in octets. ``opened`` is false where
    the message is kept sealed, because it does not open.
    """

    verdict: Verdict
    size: int
    pieces: Source
    opened: bool = True


class Unsealing:
    """Opens sealed messages. ``hostname`` names this server in Authentication-Results."""

    def __init__(self, belief: Belief, hostname: str, threads: Threads) -> None:
        self._belief = belief
        self._hostname = hostname
        self._threads = threads

    async def opened(self, source: Source, privates: Sequence[bytes], own: Collection[str], received: int) -> Unsealed:
        """Open the sealed message ``source`` with one of the X25519 keys; it came at ``received`` for an account of the domains ``own``.

        Never raises for what is wrong with the message. CipherError and OSError of ``source`` come through.
        """
        try:
            looked: Looked = await self._threads(look, source, privates)
        except Malformed as error:
            text = "sealed for other keys" if isinstance(error, NotForUs) else "it does not open"
            verdict = Verdict(PERMERROR, text)
            metrics.UNSEALED.labels(verdict.result).inc()
            log.warn("A sealed message does not open: {reason}", event="sealing.not_opened", reason=str(error))
            return await self._as_it_came(source, verdict)
        proof = looked.opened.proof
        believed = Believed() if proof is None else await self._belief.about(proof, received)
        verdict = judged(looked.opened, looked.head, believed, {canonical_domain(each) for each in own})
        if looked.altered:
            verdict = Verdict(FAIL, "its content is not what was signed", author_of(looked.head))
        if verdict.result != PASS and verdict.sealed != ARRIVAL and await self._threads(_another, looked):
            # What was checked of the message at its arrival (DMARC, first contact, blocks) holds for From outside.
            verdict = Verdict(FAIL, "From inside names another author", author_of(looked.fields))
            metrics.UNSEALED.labels(verdict.result).inc()
            return await self._as_it_came(source, verdict)
        metrics.UNSEALED.labels(verdict.result).inc()
        clean = partial(headers.incoming, hostname=self._hostname)
        before, skipped, fields = framed(looked, verdict, self._hostname, clean)
        size = len(before) + len(fields) + looked.opened.size - skipped
        return Unsealed(verdict, size, lambda: inner(source, privates, before + fields, skipped))

    async def _as_it_came(self, source: Source, verdict: Verdict) -> Unsealed:
        """The message stays sealed, and says so."""
        field = verdict.field(self._hostname)
        size: int = await self._threads(lambda: sum([len(piece) for piece in marked(source, field)]))
        return Unsealed(verdict, size, lambda: marked(source, field), False)


def _another(looked: Looked) -> bool:
    """Whether readers see another author inside than outside."""
    if b"from" not in Mail(looked.head).places:
        return False
    outside, inside = author_of(looked.fields), author_of(looked.head)
    return outside is None or inside is None or outside.key != inside.key
