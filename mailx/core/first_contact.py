"""First contact: where mail of strangers goes.

A message of somebody whom an account does not know goes to its folder Requests, if the account wants that of mail that came
this way. Known is who was accepted, and only if the message is proved to be theirs: by the key of their domain (federation), by
DMARC's alignment (SMTP), or by their login here. Answers of servers to mail that the account sent come through, too.
"""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from mailx.core.accounts import Accounts, User
from mailx.core.contacts import Contacts
from mailx.core.mailboxes import Mailboxes
from mailx.core.policy import Findings
from mailx.core.timeline import Timeline
from mailx.mail.envelope import Envelope

REQUESTS = "Requests"


class FirstContact:
    """Says where a message goes. ``timeline`` knows what accounts have sent."""

    def __init__(self, contacts: Contacts, accounts: Accounts, mailboxes: Mailboxes, timeline: Timeline | None, reactor: Any) -> None:
        self._contacts = contacts
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._timeline = timeline
        self._reactor = reactor

    async def places(self, envelope: Envelope, findings: Findings, users: Mapping[int, User]) -> Mapping[int, str]:
        """The mailbox of each account, by its id, where that is not INBOX. Raises Refused if nobody takes the message."""
        raise NotImplementedError

    def wrote(self, envelope: Envelope) -> "Deferred[None] | None":
        """Call it right before the message is committed, and await what it returns after the commit, before the reply.

        Notes whom an account writes to; what is returned never fails.
        """
        account = envelope.origin.account
        if account is None or envelope.sender is None or envelope.filing is not None:
            return None
        return self._contacts.wrote(account, envelope.recipients)
