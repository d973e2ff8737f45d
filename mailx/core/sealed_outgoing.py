"""Sealing what leaves: recipients elsewhere whose keys are known get a form that only they open, the rest what came.

It is done when the message is accepted, so that nothing readable of it lies in the queue, if the keys are found in time; what could not
be sealed then is sealed when it is delivered, if they are known by then (``late``). Nothing is left readable silently: each part
says how it was sealed, or why it was not. One sealed message goes to one destination, in two at most: to those whom the message names,
and to those whom it does not, who must not learn of each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import evolve
from twisted.logger import Logger, LogLevel

from mailx.core import metrics
from mailx.core.forms import Part
from mailx.core.sealed_making import Addressed, Making
from mailx.core.sealers import Sealers
from mailx.core.users import canonical_domain
from mailx.identity import sealing
from mailx.identity.encoding import Malformed
from mailx.identity.seal_verdict import SENDER, SERVER, author_of
from mailx.identity.sealed_message import is_sealed
from mailx.identity.user_keys import Attestation
from mailx.mail import addresses, header
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Refused, Reply

log = Logger()

TOO_MUCH = Reply(452, "4.5.3", "Too much to seal for so many destinations; send to fewer at a time")
NO_KEY = "no usable key is known for the recipient"
NO_ANSWER = "the recipient's keys could not be looked up"
NOT_OURS = "its author is not one of ours"

_OCTETS = 512 << 20  # of all sealed forms of one message
_NAMED_IN = (b"to", b"cc", b"resent-to", b"resent-cc")


class RemoteKeys(Protocol):
    """What this needs of ``core.remote_keys.RemoteKeys``."""

    async def find(
        self, addresses: Sequence[Address], seconds: float, sender: str = "", anew: bool = False
    ) -> Mapping[Address, Attestation]: ...


class SealedOutgoing:
    """Seals what leaves; ``Reception`` asks it."""

    def __init__(
        self,
        remote: RemoteKeys,
        sealers: Sealers,
        making: Making,
        *,
        local: Callable[[str], bool],
        known: Callable[[str], bool],
        seconds: Callable[[], float],
    ) -> None:
        """``local`` knows our domains and ``known`` those with a MailX server; ``seconds``: how long the keys are waited for."""
        self._remote = remote
        self._sealers = sealers
        self._making = making
        self._local = local
        self._known = known
        self._seconds = seconds

    async def parts(self, envelope: Envelope) -> Sequence[Part]:
        """``envelope``, which leaves, in the forms in which it does. Raises Refused; then nothing was kept."""
        if _of_strangers(envelope):
            return self._readable(envelope, envelope.recipients, NOT_OURS)  # nobody is looked up for it
        keys, failed = await self._keys(envelope)
        if not keys and not self._any_known(envelope):
            return [Part(envelope)]
        head = await self._making.head(envelope.message)
        if is_sealed(head):
            return [Part(envelope, SENDER)]
        author = author_of(head)
        if author is None or not self._local(author.domain):
            return self._readable(envelope, envelope.recipients, NOT_OURS)
        sealed, readable = await self._sealed(envelope, head, author, keys)
        return [*sealed, *self._readable(envelope, readable, NO_ANSWER if failed else NO_KEY)]

    async def late(self, envelope: Envelope) -> Sequence[Part]:
        """``envelope``, which is being delivered, in forms sealed for those whose keys are known by now; empty: for nobody.

        Raises Refused; then nothing was kept.
        """
        if _of_strangers(envelope) or not self._any_known(envelope):
            return ()
        head = await self._making.head(envelope.message)
        author = None if is_sealed(head) else author_of(head)
        if author is None or not self._local(author.domain):
            return ()
        keys, _ = await self._keys(envelope, anew=True)  # as the server is about to be connected to
        sealed, readable = await self._sealed(envelope, head, author, keys)
        if not sealed:
            return ()
        forms = [evolve(part, envelope=evolve(part.envelope, form=number)) for number, part in enumerate(sealed, 1)]
        return [*forms, Part(_to(envelope, readable))] if readable else forms

    def _any_known(self, envelope: Envelope) -> bool:
        return any([self._known(canonical_domain(address.domain)) for address in envelope.recipients])

    async def _keys(self, envelope: Envelope, anew: bool = False) -> tuple[Mapping[Address, Attestation], bool]:
        """The keys that are found in time, and whether looking failed."""
        try:
            sender = canonical_domain(envelope.sender.domain) if envelope.sender is not None else ""
            found = await self._remote.find(envelope.recipients, self._seconds(), sender if self._local(sender) else "", anew)
        except Exception:
            log.failure("Keys of recipients were not looked up", event="sealing.lookup_failed")
            return {}, True
        return {address: key for address, key in found.items() if not key.revoked}, False

    def _readable(self, envelope: Envelope, recipients: Sequence[Address], reason: str) -> list[Part]:
        """What leaves as it came. That a domain without a MailX server has no keys is nothing to tell."""
        if not recipients:
            return []
        told = tuple([address for address in recipients if self._known(canonical_domain(address.domain))])
        if told:
            metrics.SEALED.labels("unsealed").inc(len(told))
            level = LogLevel.info if reason == NO_KEY else LogLevel.warn  # accounts without keys are the ordinary case
            log.emit(
                level, "Mail to a MailX server was not sealed: {reason}", event="sealing.unsealed", reason=reason, message_id=envelope.id
            )
        return [Part(_to(envelope, recipients), "", reason if told else "", told)]

    async def _sealed(
        self, envelope: Envelope, head: bytes, author: Address, keys: Mapping[Address, Attestation]
    ) -> tuple[list[Part], list[Address]]:
        """The parts for those who have ``keys``, and who has none."""
        try:
            sealed = await self._parts(envelope, head, author, keys) if keys else []
        except Malformed:  # what a domain attested is no key, which must not unseal what goes to the others
            keys = {address: key for address, key in keys.items() if sealing.usable(key.sealing)}
            sealed = await self._parts(envelope, head, author, keys) if keys else []
        return sealed, [address for address in envelope.recipients if address not in keys]

    async def _parts(self, envelope: Envelope, head: bytes, author: Address, keys: Mapping[Address, Attestation]) -> list[Part]:
        """A part for each destination, and there for those whom the message names and those whom it does not."""
        named = named_in(head)
        groups: dict[tuple[str, bool], list[Address]] = {}
        for address in envelope.recipients:
            if address in keys:
                groups.setdefault((canonical_domain(address.domain), address.key in named), []).append(address)
        batches = [
            (open_, members[start : start + sealing.BOXES])
            for (_, open_), members in groups.items()
            for start in range(0, len(members), sealing.BOXES)
        ]
        if len(batches) > 1 and len(batches) * envelope.message.size > _OCTETS:
            raise Refused(TOO_MUCH)
        wanted = [Addressed([keys[address].sealing for address in members], members if open_ else ()) for open_, members in batches]
        sender = await self._sealers.sender(author, envelope.origin.account)
        made = await self._making.made(envelope.message, author, sender, wanted)
        metrics.SEALED.labels("outgoing").inc(sum([len(members) for _, members in batches]))
        return [Part(_to(evolve(envelope, message=message), members), SERVER) for message, (_, members) in zip(made, batches, strict=True)]


def named_in(head: bytes) -> frozenset[str]:
    """The addresses (``Address.key``) that the fields of a message name as its recipients, who all see them."""
    end = head.find(b"\r\n\r\n")
    found: set[str] = set()
    for _, name, value in header.split(head, 0, len(head) if end < 0 else end + 2):
        if name.lower() in _NAMED_IN:
            for entry in addresses.parse(header.unfold(value)):
                if entry.mailbox and entry.host:
                    found.add(f"{entry.mailbox.decode('utf-8', 'replace')}@{entry.host.decode('utf-8', 'replace')}".lower())
    return frozenset(found)


def _of_strangers(envelope: Envelope) -> bool:
    return envelope.forwarding is not None or (envelope.sender is None and not envelope.origin.ours)


def _to(envelope: Envelope, recipients: Sequence[Address]) -> Envelope:
    """``envelope`` for these of its recipients."""
    wishes = {address: wish for address, wish in envelope.wishes.items() if address in recipients}
    return evolve(envelope, recipients=tuple(recipients), wishes=wishes)
