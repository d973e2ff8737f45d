"""Couriers: the one way out. Whoever carries a message to another server implements ``ICourier``.

A courier tries once and says what came of it; whether and when to try again is the queue's affair.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen
from zope.interface import Interface

from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Reply

PLAIN = "plain"  # Attempt.security, from the weakest up: nothing encrypted
ENCRYPTED = "encrypted"  # TLS with whoever answered
VERIFIED = "verified"  # TLS with a certificate of a known authority for the right name (MTA-STS, a relay)
DANE = "dane"  # TLS with the key that DNSSEC vouches for
FEDERATED = "federated"  # mutual TLS, both sides proved by the keys of their domains
SEALED = "sealed"  # the same, and only the recipient's own key opens the message


@frozen
class Attempt:
    """What one attempt brought for one recipient."""

    reply: Reply  # 2xx delivered, 4xx again later, 5xx never
    host: str = ""  # who said so, "mx.example.org [192.0.2.1]:25"; empty: nobody was reached, this server says so
    security: str = ""  # PLAIN, ENCRYPTED, VERIFIED, DANE, FEDERATED or SEALED; empty: no connection
    tls: str = ""  # "TLSv1.3 TLS_AES_256_GCM_SHA384" or empty
    unreachable: bool = False  # the destination as a whole does not work now: others to it need not be tried either
    proof: str = ""  # the receiving domain's signed acknowledgement, as JSON (federation); kept in the timeline
    reports: bool = False  # the next server honours NOTIFY itself (it announced DSN)
    rest: int = 0  # seconds for which the destination wants to hear nothing, for it has heard much: no failure


class ICourier(Interface):
    """Carries messages one way: to the recipients' own servers, through a smart host, over federation."""

    async def deliver(envelope: Envelope, recipients: Sequence[Address], destination: str) -> Mapping[Address, Attempt]:
        """Try to pass ``envelope`` on to ``recipients``, all of one ``destination``; what came of it for each.

        ``destination`` is what the route made of the recipients: their domain (A-labels), or the name of a relay. Never
        raises for a mail reason: a failure is an Attempt with a 4xx or 5xx reply.
        """

    async def stop() -> None:
        """Close idle connections; running deliveries have ended before."""
