"""Whom mail reaches: which accounts take it, which recipients on other servers it goes on to, who refuses it and why.

No open relay: mail for other servers is taken from our own accounts and from this server itself. Strangers reach them
by an alias, or, with the null reverse-path, by an address that this server made for a sender (SRS).
"""

from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, define, evolve

from mailx.core.accounts import User
from mailx.core.router import Onward, Route, Router, Way
from mailx.core.srs import SRS
from mailx.core.turns import Turns
from mailx.core.users import canonical_domain
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Envelope, Forwarding, Notify, Origin, Wish
from mailx.mail.reply import Refused, Reply, Unavailable

NOT_OURS = Reply(550, "5.7.1", "Relaying denied")
UNKNOWN = Reply(550, "5.1.1", "No such mailbox here")
SUSPENDED = Reply(550, "5.2.1", "Mailbox disabled")
LOOP = Reply(554, "5.4.6", "Aliases lead to each other and to nobody")
ONLY_BOUNCES = Reply(550, "5.7.1", "This address takes delivery reports only")
TOO_MANY = Reply(452, "4.5.3", "Too many recipients on other servers; send to fewer at a time")

ONWARD = 5000  # recipients on other servers that one message may reach, over aliases too: each is a row of one transaction


@define
class Reached:
    """Whom an envelope reaches."""

    refused: dict[Address, Reply] = Factory(dict)
    recipients: dict[Address, list[int]] = Factory(dict)  # the ids of the accounts that take it, of each that is not refused
    users: dict[int, User] = Factory(dict)
    onward: dict[Address, Onward] = Factory(dict)  # each address elsewhere once
    passing: set[Address] = Factory(set)  # the recipients that are passed on to another server
    expanded: list[Address] = Factory(list)  # those of them that became several
    forwarder: str = ""  # the domain that passes the message on, if it is not its sender who has it sent

    def promised(self) -> set[int]:
        """The accounts of recipients that are also passed on: their sender hears of success, so they take the message in any case."""
        return {id for recipient in self.passing for id in self.recipients[recipient]}


class Receivers:
    """Finds out whom mail reaches. ``policies`` may object to an account; ``relays``: mail can leave at all."""

    def __init__(self, router: Router, policies: Sequence[Any], relays: bool, reactor: Any) -> None:
        self._router = router
        self._policies = policies
        self._relays = relays
        self._reactor = reactor

    async def takers(self, origin: Origin, sender: Address | None, address: Address) -> tuple[list[User], tuple[Onward, ...]]:
        """The accounts, and the recipients elsewhere, that mail to ``address`` reaches; raises Refused if there are none."""
        route = await self._router.route(address)
        onward = route.onward
        if onward and not self._relays:
            onward = ()
        if route.way is not Way.LOCAL:
            self._permit(route, origin, sender)
            return [], onward
        reply = UNKNOWN if self._relays or route.users else NOT_OURS
        takers = []
        for user in route.users:
            if not user.active:
                reply = SUSPENDED
                continue
            for policy in self._policies:
                if (objection := await policy.recipient(origin, sender, user)) is not None:
                    reply = objection
                    break
            else:
                takers.append(user)
        if not takers and not onward:
            raise Refused(reply)
        return takers, onward

    def _permit(self, route: Route, origin: Origin, sender: Address | None) -> None:
        """Raise Refused unless mail from ``origin`` may go this way."""
        if route.way is Way.UNKNOWN:
            raise Refused(UNKNOWN)
        if route.way is Way.LOOP:
            raise Refused(LOOP)
        if not self._relays:
            raise Refused(NOT_OURS)
        if route.way is Way.BOUNCE:
            if sender is not None:
                raise Refused(ONLY_BOUNCES)
        elif not origin.ours:
            raise Refused(NOT_OURS)

    async def of(self, envelope: Envelope) -> Reached:
        """Whom ``envelope`` reaches now, each account and each address elsewhere once. Raises Refused if those are too many."""
        reached = Reached()
        origin = envelope.origin
        turns = Turns(self._reactor)
        for recipient in dict.fromkeys(envelope.recipients):
            await turns.spare()
            try:
                users, onward = await self.takers(origin, envelope.sender, recipient)
            except Unavailable:
                raise
            except Refused as refused:
                reached.refused[recipient] = refused.reply
                continue
            reached.recipients[recipient] = [user.id for user in users]
            for user in users:
                reached.users[user.id] = user
            if onward:
                _pass_on(reached, envelope, recipient, len(users), onward)
        return reached


def _pass_on(reached: Reached, envelope: Envelope, recipient: Address, users: int, onward: Sequence[Onward]) -> None:
    """Add the recipients elsewhere that ``recipient`` stands for, with its sender's wishes."""
    wish = envelope.wishes.get(recipient, WISHES_NOTHING)
    several = users + len(onward) > 1
    if wish is not WISHES_NOTHING and onward[0].address != recipient:
        wish = _through_alias(wish, recipient, several)
    for one in onward:
        if one.address == recipient or one.address not in reached.onward:
            reached.onward[one.address] = one if wish is WISHES_NOTHING else evolve(one, wish=wish)
    if len(reached.onward) > ONWARD:
        raise Refused(TOO_MANY)
    reached.passing.add(recipient)
    if several:
        reached.expanded.append(recipient)
    if onward[0].original != onward[0].address and not envelope.origin.ours:
        reached.forwarder = reached.forwarder or recipient.domain


def _through_alias(wish: Wish, alias: Address, several: bool) -> Wish:
    """The wishes that an alias passes on (RFC 3461 5.2.7): its own address is the original one.

    When it becomes several recipients, this server reports the success, and no other does.
    """
    original = wish.original or f"{'rfc822' if alias.ascii else 'utf-8'};{alias}"
    notify = wish.notify
    if several and notify & Notify.SUCCESS:
        notify = (notify & ~Notify.SUCCESS) or int(Notify.NEVER)
    return Wish(int(notify), original)


async def outward(envelope: Envelope, results: str, reached: Reached, srs: SRS | None, local: Callable[[str], bool]) -> Envelope:
    """``envelope`` as it leaves. What an alias forwards leaves under our own name (SRS), with the ``results`` found at its arrival.

    ``local`` tells whether a domain is ours.
    """
    sender = envelope.sender
    forwarding = None
    if reached.forwarder:
        domain = canonical_domain(reached.forwarder)
        forwarding = Forwarding(domain, results)
        if sender is not None and srs is not None and not local(sender.domain):
            sender = await srs.rewrite(sender, domain)
    return Envelope(
        envelope.id,
        sender,
        tuple(reached.onward),
        envelope.message,
        envelope.origin,
        demands=envelope.demands,
        wishes={address: one.wish for address, one in reached.onward.items() if one.wish is not WISHES_NOTHING},
        forwarding=forwarding,
    )
