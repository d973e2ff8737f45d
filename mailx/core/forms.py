"""The forms of one accepted message: as it came, and sealed for those who alone can open it.

A message is stored once for all who take it as it is. Each account that holds a key of its own takes a form sealed for
that key, and so do recipients elsewhere whose keys are known. The forms of a message are placed together or not at all.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import Factory, define, frozen

from mailx.core.policy import Findings
from mailx.core.receivers import Reached
from mailx.core.router import Onward
from mailx.core.sealing import Sealed
from mailx.core.users import User
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.message import Message, Spooled
from mailx.store.delivery import Outcome, Outcomes

if TYPE_CHECKING:
    from mailx.core.queue import Planned


@frozen
class Part:
    """What some recipients elsewhere are sent; at most one part of a message has its content as it came.

    ``sealed`` says where it was sealed (see :mod:`mailx.identity.seal_verdict`), "" if it leaves readable; ``reason`` why it
    does although ``told`` of its recipients have a MailX server.
    """

    envelope: Envelope
    sealed: str = ""
    reason: str = ""
    told: tuple[Address, ...] = ()


@frozen
class Own:
    """What one account here takes instead of the message as it came.

    With ``waiting`` the owner gets an entry of it when the account's key is next open.
    """

    message: Message
    waiting: bool
    sealed: str = ""


class Parts(Protocol):
    """Seals what leaves: ``core.sealed_outgoing``."""

    async def parts(self, envelope: Envelope) -> Sequence[Part]:
        """``envelope`` in the forms in which it leaves, each recipient in one. Raises Refused; then nothing was kept."""


class Owns(Protocol):
    """Seals what arrives: ``core.sealed_arrivals``."""

    def wanted(self, users: Mapping[int, User]) -> Sequence[int]:
        """The accounts among ``users`` that take a form of their own. Called for every message: answered from memory."""

    async def forms(self, envelope: Envelope, users: Sequence[User]) -> Mapping[int, Own]:
        """What these accounts take. Raises Refused; then nothing was kept."""


class Places(Protocol):
    """Chooses mailboxes: ``core.first_contact``."""

    async def places(self, envelope: Envelope, findings: Findings, users: Mapping[int, User]) -> Mapping[int, str]:
        """The name of the mailbox for each account where it is not INBOX; only mailboxes that there are. Raises Refused."""

    def wrote(self, envelope: Envelope) -> "Awaitable[None] | None":
        """Called right before the commit: keep whom an account of ours writes to. What it answers never fails."""


@define
class Form:
    """One form of a message on its way into the store."""

    message: Message
    ids: Sequence[int] = ()  # accounts that take it
    waiting: bool = False
    outward: Envelope | None = None  # for recipients elsewhere
    onward: Sequence[Onward] = ()  # the same recipients
    sealed: Sealed | None = None  # made ready for the store
    planned: "Planned | None" = None

    @property
    def file(self) -> Spooled | None:
        """The file that it lies in, if it does."""
        if self.sealed is not None:
            return self.sealed.file
        return None if isinstance(self.message.content, bytes) else self.message.content


@define
class Forms:
    """All forms of one message. The first is the message as it came; others are sealed."""

    every: list[Form]
    stored: list[Form] = Factory(list)  # those that somebody takes
    notes: list[tuple[str, dict[str, Any]]] = Factory(list)  # of the timeline: how it was sealed, or why it was not

    @property
    def unused(self) -> Spooled | None:
        """The file of the message as it came, if nobody takes it so."""
        form = self.every[0]
        return None if form.ids or form.outward is not None else form.file

    def files(self) -> list[Spooled]:
        """The files of all."""
        return [file for form in self.every if (file := form.file) is not None]

    def planned(self) -> "list[tuple[Form, Planned]]":
        """Those that leave, with the plans of the queue."""
        return [(form, form.planned) for form in self.every if form.planned is not None]


def together(reached: Reached, forms: Sequence[Form]) -> tuple[tuple[int, ...], ...]:
    """The places of the accounts of each recipient that reaches several, counted through the targets of ``forms``."""
    several = [ids for ids in reached.recipients.values() if len(ids) > 1]
    if not several:
        return ()
    places: dict[int, int] = {}
    for form in forms:
        for id in form.ids:
            places[id] = len(places)
    return tuple([tuple([places[id] for id in ids]) for ids in several])


def by_account(forms: Sequence[Form], answers: Sequence[Outcomes]) -> dict[int, Outcome | None]:
    """What became of each account; ``answers`` are those to the deliveries of ``forms``."""
    if len(forms) == 1:
        return dict(zip(forms[0].ids, answers[0], strict=True))
    return {id: outcome for form, outcomes in zip(forms, answers, strict=True) for id, outcome in zip(form.ids, outcomes, strict=True)}


async def divide(
    forms: Forms,
    envelope: Envelope,
    reached: Reached,
    leaving: Envelope | None,
    owns: Owns | None,
    parts: Parts | None,
) -> None:
    """Divide ``envelope`` among ``forms``; ``leaving`` is the same as it would leave as it is. Raises Refused.

    Whatever was made is in ``forms``, also then.
    """
    first = forms.every[0]
    first.ids = list(reached.users)
    await _divide(forms, first, envelope, reached, leaving, owns, parts)
    forms.stored = [form for form in forms.every if form.ids or form.outward is not None]


def alone(forms: Forms, reached: Reached, leaving: Envelope | None, owns: Owns | None) -> bool:
    """Whether accounts here take the message as it came, and nobody else takes any: as most mail, it is divided already then."""
    if leaving is not None or (owns is not None and owns.wanted(reached.users)):
        return False
    forms.every[0].ids = list(reached.users)
    forms.stored = forms.every[:] if reached.users else []
    return True


async def _divide(
    forms: Forms,
    first: Form,
    envelope: Envelope,
    reached: Reached,
    leaving: Envelope | None,
    owns: Owns | None,
    parts: Parts | None,
) -> None:
    if owns is not None and reached.users and (wanted := owns.wanted(reached.users)):
        made = await owns.forms(envelope, [reached.users[id] for id in wanted])
        forms.every += [Form(own.message, [id], own.waiting) for id, own in made.items()]
        first.ids = [id for id in reached.users if id not in made]
        for id, own in made.items():
            forms.notes.append(("sealed", {"recipients": [str(reached.users[id].address)], "how": own.sealed}))
    if leaving is None:
        return
    onward = {one.address: one for one in reached.onward.values()}
    for part in (Part(leaving),) if parts is None else await parts.parts(leaving):
        outward = part.envelope
        chosen = [onward[address] for address in outward.recipients]
        if outward.message is envelope.message:
            first.outward, first.onward = outward, chosen
        else:
            forms.every.append(Form(outward.message, outward=outward, onward=chosen))
        if part.sealed or part.reason:
            facts: dict[str, Any] = {"recipients": [str(address) for address in part.told or outward.recipients]}
            facts.update({"how": part.sealed} if part.sealed else {"reason": part.reason})
            forms.notes.append(("sealed" if part.sealed else "unsealed", facts))
