"""What a client says of a message for another server, from its socket to the courier."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from mailx.config import SMTP, Server
from mailx.core.limits import SendLimits
from mailx.mail.address import Address
from mailx.mail.envelope import Demands, Notify, Wish
from mailx.smtp.door import MX, SUBMISSION, Door
from mailx.smtp.listener import SMTPListener
from mailx.smtp.session import Session
from tests.core.test_forwarding import FAR, Base
from tests.scenery import configured
from tests.smtp.fakes import FakeAccess, FakeTLS, Transport

BODY = (b"DATA", b"Subject: s\r\n\r\nbody\r\n.")


class Told(Transport):
    """A transport that tells of each write."""

    written: Callable[[], None] = staticmethod(lambda: None)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.written()


class OnwardTests(Base):
    def connect(self, door: Door) -> tuple[Session, Told]:
        listener = SMTPListener(
            door, 25, SMTP(), Server(hostname="mx.example.test"), self.reception, FakeAccess(), FakeTLS(), self.world.reactor
        )
        transport = Told("192.0.2.1")
        session = listener.buildProtocol(transport.getPeer())
        transport.session = session
        session.makeConnection(transport)
        self.addCleanup(listener.abort)
        self.addCleanup(session.connectionLost, Failure(ConnectionDone()))
        return session, transport

    async def replies(self, session: Session, transport: Told, count: int, *lines: bytes) -> list[str]:
        """The codes of the replies to ``lines``, once there are ``count``."""
        transport.take()
        answered: Deferred[list[str]] = Deferred()

        def written() -> None:
            codes = [line[:9].decode() for line in transport.value().split(b"\r\n")[:-1] if line[3:4] == b" "]
            if len(codes) >= count and not answered.called:
                answered.callback(codes)

        transport.written = written
        session.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return await answered

    async def test_parameters(self) -> None:
        (ann,) = await self.begin("ann")
        session, transport = self.connect(SUBMISSION)
        session.tls, session.user = "TLSv1.3 TLS_AES_256_GCM_SHA384", ann
        codes = await self.replies(
            session,
            transport,
            5,
            b"EHLO client.example",
            b"MAIL FROM:<ann@example.test> RET=HDRS ENVID=e+2B1 REQUIRETLS",
            b"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;rob+40example.net",
            *BODY,
        )
        self.assertEqual([code[:3] for code in codes], ["250", "250", "250", "354", "250"])
        envelope, recipients = await self.courier.after(1)
        self.assertEqual((envelope.sender, recipients), (Address("ann", "example.test"), (FAR,)))
        self.assertEqual(envelope.demands, Demands(require_tls=True, returns="HDRS", id="e+1"))
        self.assertEqual(dict(envelope.wishes), {FAR: Wish(int(Notify.SUCCESS | Notify.DELAY), "rfc822;rob@example.net")})
        self.assertEqual((envelope.origin.protocol, envelope.origin.account), ("ESMTPSA", ann.id))

    async def test_strangers(self) -> None:
        await self.begin("ann")
        session, transport = self.connect(MX)
        codes = await self.replies(
            session, transport, 4, b"EHLO client.example", b"MAIL FROM:<ann@example.test>", b"RCPT TO:<bob@example.net>", b"DATA"
        )
        self.assertEqual([code for code in codes[2:]], ["550 5.7.1", "503 5.5.1"])

    async def test_limit(self) -> None:
        """A budget that is used up is said at the end of the message, and at the next MAIL."""
        (ann,) = await self.begin("ann")
        limits = configured(limits={"account_hour": 2}).limits
        self.reception._at_mail = self.reception._at_end = (
            SendLimits(limits, (), self.world.accounts, self.world.store, self.world.reactor),
        )
        session, transport = self.connect(SUBMISSION)
        session.tls, session.user = "TLSv1.3 X", ann
        await self.replies(session, transport, 1, b"EHLO client.example")
        mail, one, two = b"MAIL FROM:<ann@example.test>", b"RCPT TO:<a@example.net>", b"RCPT TO:<b@example.net>"
        self.assertEqual((await self.replies(session, transport, 4, mail, one, *BODY))[-1], "250 2.0.0")
        self.assertEqual((await self.replies(session, transport, 5, mail, one, two, *BODY))[-1], "452 4.7.1")
        self.assertEqual((await self.replies(session, transport, 4, mail, one, *BODY))[-1], "250 2.0.0")
        self.assertEqual(await self.replies(session, transport, 1, mail), ["452 4.7.1"])
        await self.courier.after(2)
