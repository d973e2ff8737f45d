"""Filing: owners put messages into their own mailboxes (IMAP APPEND), all of one call or none.

Failure is MailboxError, which tells the client what it can do about it, or Refused; then nothing was kept.
"""

from collections.abc import Sequence
from time import time
from typing import Any

from attrs import evolve, frozen

from mailx.core.accounts import Accounts, User
from mailx.core.arrivals import Arrivals
from mailx.core.edits import flags_allowed
from mailx.core.keyring import Keyring
from mailx.core.sealing import Sealed, Sealing, vault_threads
from mailx.core.selected import Selected
from mailx.core.storing import Storing, prepared
from mailx.core.users import SERVER
from mailx.mail.envelope import Envelope, Filing
from mailx.mail.names import INBOX, MailboxError, normal
from mailx.mail.reply import Unavailable
from mailx.mail.rights import elsewhere
from mailx.store import Store, keywords, rights
from mailx.store.cipher import Cipher
from mailx.store.delivery import Consignment, Placed, Problem, Target
from mailx.store.mailboxes import Names, name_hash
from mailx.store.vault import Vault


@frozen
class Filed:
    """Where messages were filed, for APPENDUID (RFC 4315)."""

    uidvalidity: int
    uids: tuple[int, ...]


class Cabinet:
    """Files what owners bring."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        sealing: Sealing,
        storing: Storing,
        arrivals: Arrivals,
        default_quota: int,
        reactor: Any,
        keyring: Keyring | None = None,
        directory: Accounts | None = None,
    ) -> None:
        """``keyring`` has the keys of sealed accounts whose owners are here, ``directory`` the owners of shared mailboxes."""
        self._store = store
        self._cipher = cipher
        self._sealing = sealing
        self._storing = storing
        self._arrivals = arrivals
        self._default_quota = default_quota
        self._reactor = reactor
        self._keyring = keyring
        self._directory = directory
        self._names = Names(cipher)

    async def file(self, user: User, envelopes: Sequence[Envelope], replaces: tuple[Selected, int] | None = None) -> Filed:
        """See ``Reception.file``, which has asked the policies."""
        started = self._reactor.seconds()
        user, envelopes, guest = await self._owned(user, envelopes, None if replaces is None else replaces[0])
        ready: list[tuple[Envelope, Sealed]] = []
        deliveries = []
        try:
            for envelope in envelopes:
                filing = envelope.filing or Filing(INBOX)
                vault = self._vault(user)
                sealed = await (self._sealing.seal(envelope.message) if vault is None else self._sealing.for_vault(envelope.message, vault))
                ready.append((envelope, sealed))
                flags = int(filing.flags) | await self._keywords(user, filing.keywords)
                if vault is None:
                    (threads,) = await self._sealing.threads(sealed, [user.id])
                else:
                    threads = vault_threads(vault, user.id, sealed.identifiers)
                target = Target(user.id, name_hash(self._cipher, user.id, normal(filing.mailbox)), self._default_quota, flags, threads)
                deliveries.append(prepared(sealed, (target,), int(time()), filing.received))
        except Exception:
            await self._storing.discard(*[envelope.message.content for envelope in envelopes], *[sealed.file for _, sealed in ready])
            raise
        old = None if replaces is None else (replaces[0].mailbox.id, replaces[1])
        answer = await self._storing.commit(Consignment(tuple(deliveries), replaces=old, guest=guest), [sealed for _, sealed in ready])
        if replaces is not None:
            await replaces[0].settle()
        outcomes = [outcomes[0] for outcomes in answer]
        for (envelope, sealed), outcome in zip(ready, outcomes, strict=True):
            if self._arrivals.placed(envelope, sealed.size, [(user, outcome)]):
                self._arrivals.count(envelope.origin.protocol, sealed.size, 1, started)
            else:
                await self._storing.discard(sealed.file)
        placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
        if len(placed) < len(envelopes):
            if Problem.GONE in outcomes:
                raise MailboxError("TRYCREATE", "No such mailbox")
            if Problem.REPLACED in outcomes:
                raise MailboxError("EXPUNGEISSUED", "The message is expunged already")
            raise MailboxError("OVERQUOTA", "Quota exceeded")
        return Filed(placed[0].uidvalidity, tuple(each.uid for each in placed))

    async def _owned(
        self, user: User, envelopes: Sequence[Envelope], replaced: Selected | None
    ) -> tuple[User, Sequence[Envelope], tuple[int, tuple[tuple[int, str], ...]] | None]:
        """Whose mailbox it is, who is charged too; for another's the envelopes name it as its owner does, with the flags allowed there,
        and what rights ``user`` must still have when they are filed.

        Raises MailboxError "TRYCREATE" for another's mailbox that ``user`` may not look up, "NOPERM" without the right to insert there,
        or to take ``replaced``'s message away.
        """
        filing = envelopes[0].filing if envelopes else None
        place = None if filing is None else elsewhere(normal(filing.mailbox))
        if self._directory is None or (place is None and (replaced is None or replaced.mailbox.account == user.id)):
            return user, envelopes, None
        try:
            if replaced is not None and not replaced.rights.issuperset("te"):
                raise MailboxError("NOPERM", "You have no right to remove that message")
            if place is None:
                raise MailboxError("CANNOT", "A message is replaced in the mailboxes of one account")
            try:
                found = await self._store.read(rights.find, self._names, user.id, place, "i")
            except MailboxError as error:
                raise MailboxError("TRYCREATE" if error.code == "NONEXISTENT" else error.code, error.text) from None
            owner = await self._directory.fresh(found.account)
            if owner is None or owner.sealed:
                raise MailboxError("TRYCREATE", "No such mailbox")
            if replaced is not None and replaced.mailbox.account != owner.id:
                raise MailboxError("CANNOT", "A message is replaced in the mailboxes of one account")
        except Exception:
            await self._storing.discard(*[envelope.message.content for envelope in envelopes])
            raise
        needed = [(found.id, "i")] if replaced is None else [(found.id, "i"), (replaced.mailbox.id, "te")]
        allowed = [evolve(envelope, filing=_allowed(envelope.filing, place.name, found.rights)) for envelope in envelopes]
        return owner, allowed, (user.id, tuple(needed))

    def _vault(self, user: User) -> Vault | None:
        """What seals the account's mail; None: the server does. Raises Unavailable when its owner has gone meanwhile."""
        if user.sealed != SERVER:
            return None
        vault = None if self._keyring is None else self._keyring.vault(user.id)
        if vault is None:
            raise Unavailable("the account's keys are not open")
        return vault

    async def _keywords(self, user: User, names: Sequence[str]) -> int:
        """The flag bits of ``names``; unused keywords of the account make room when there is none."""
        if not names:
            return 0
        try:
            return await self._store.write(keywords.assign, self._cipher, user.id, names)
        except keywords.KeywordsFull:
            await self._store.write(keywords.free, user.id)
        return await self._store.write(keywords.assign, self._cipher, user.id, names)


def _allowed(filing: Filing | None, name: str, held: frozenset[str]) -> Filing:
    """Flags that a guest may not set are left out (RFC 4314 4, of APPEND)."""
    filing = filing or Filing(INBOX)
    names = filing.keywords if "w" in held else ()
    return evolve(filing, mailbox=name, flags=int(filing.flags) & flags_allowed(held), keywords=names)
