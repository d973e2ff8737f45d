"""The whole service on real loopback sockets with real TLS, spoken to by Python's imaplib in threads."""

import imaplib
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.imap.server import IMAPService
from mailx.ops.certificates import Certificates
from tests.imap.messages import MULTIPART, PLAIN
from tests.scenery import world

imaplib.Commands.setdefault("UNSELECT", ("SELECTED",))


class ServiceTests(TestCase):
    timeout = 240

    async def start(self, **settings: Any) -> None:
        self.world = await world(self)
        self.user = await self.world.user("me@example.test")
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificates = Certificates(TLS(), directory, "localhost.test")
        self.trust = ssl.create_default_context(cafile=str(self.certificates.generated))
        config = evolve(self.world.config.imap, port=1, tls_port=1, **settings)
        anywhere = Anywhere()
        self.service = IMAPService(
            config, self.world.config.server, self.world.mailboxes, self.world.reception, self.world.access, self.certificates, anywhere
        )
        self.service.startService()
        self.addCleanup(lambda: self.service.stopService() if self.service.running else None)
        self.ports = {name: port.getHost().port for name, port in self.service.ports.items()}

    def connect(self, tls: bool = True) -> imaplib.IMAP4:
        """Blocking: call it in a thread."""
        if tls:
            client: imaplib.IMAP4 = _Implicit("127.0.0.1", self.ports["imaps"], self.trust)
        else:
            client = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=10)
        return client


class _Implicit(imaplib.IMAP4):
    """IMAP over TLS to an address, verifying the name of the certificate."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(host, port, timeout=10)

    def _create_socket(self, timeout: float | None) -> Any:
        return self._context.wrap_socket(super()._create_socket(timeout), server_hostname="localhost.test")  # type: ignore[misc]


class Anywhere:
    """The reactor, but every listener gets a port of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def listenTCP(self, port: int, *args: Any) -> Any:
        return reactor.listenTCP(0, *args)  # type: ignore[attr-defined]


def coroutine(test: Callable[..., Awaitable[None]]) -> Callable[..., "Deferred[None]"]:
    def run(self: TestCase) -> "Deferred[None]":
        return Deferred.fromCoroutine(test(self))  # type: ignore[arg-type]

    run.__doc__ = test.__doc__
    return run


class ImaplibTests(ServiceTests):
    @coroutine
    async def test_session(self) -> None:
        """Log in over TLS, append, read, search, store, copy, expunge, list."""
        await self.start()

        def talk() -> None:
            client = self.connect()
            client.login("me@example.test", "secret")
            assert client.select()[0] == "OK"
            for content in (PLAIN, MULTIPART):
                kind, data = client.append("INBOX", "(\\Flagged)", imaplib.Time2Internaldate(1793617445), content)
                assert kind == "OK" and b"APPENDUID" in data[0], data
            assert client.fetch("1", "(BODY.PEEK[] INTERNALDATE)")[1][0][1] == PLAIN
            assert client.fetch("2", "(RFC822)")[1][0][1] == MULTIPART
            date = client.fetch("1", "(INTERNALDATE)")[1][0]
            assert time.mktime(imaplib.Internaldate2tuple(date)) == 1793617445, date
            assert client.search(None, "SUBJECT", "plain") == ("OK", [b"1"])
            assert client.uid("SEARCH", "SEEN") == ("OK", [b"2"])
            assert client.store("1", "+FLAGS", "(\\Deleted)")[1] == [b"1 (FLAGS (\\Recent \\Flagged \\Deleted))"]
            assert client.copy("1:2", "Archive")[0] == "OK"
            assert client.expunge() == ("OK", [b"1"])
            assert client.status("Archive", "(MESSAGES)") == ("OK", [b"Archive (MESSAGES 2)"])
            assert client.create("Ordner/Zwei")[0] == "OK"
            assert len(client.list()[1]) == 9
            assert client.namespace() == ("OK", [b'(("" "/")) (("Users/" "/")) NIL'])
            assert client.getquotaroot("INBOX")[0] == "OK"
            assert client.sort("(REVERSE DATE)", "UTF-8", "ALL") == ("OK", [b"1"])
            assert client.unselect()[0] == "OK"
            assert client.logout()[0] == "BYE"

        await deferToThread(talk)

    @coroutine
    async def test_starttls(self) -> None:
        """No login before STARTTLS; after it the certificate is the right one, and SASL works."""
        await self.start()

        def talk() -> None:
            client = self.connect(tls=False)
            assert "LOGINDISABLED" in client.capabilities and "STARTTLS" in client.capabilities
            try:
                client.login("me@example.test", "secret")
            except imaplib.IMAP4.error as error:
                assert b"PRIVACYREQUIRED" in error.args[0], error
            else:
                raise AssertionError("logged in without TLS")
            client.host = "localhost.test"
            client.starttls(self.trust)
            assert "LOGINDISABLED" not in client.capabilities and "AUTH=PLAIN" in client.capabilities
            client.authenticate("PLAIN", lambda _: b"\0me@example.test\0secret")
            assert client.select()[0] == "OK"
            client.logout()

        await deferToThread(talk)

    @coroutine
    async def test_large(self) -> None:
        """Messages that lie in files go in and out whole, over TLS and slower than they could be written."""
        await self.start()
        big = PLAIN + b"0123456789abcde\r\n" * 400000

        def talk() -> None:
            client = self.connect()
            client.login("me@example.test", "secret")
            client.select()
            assert client.append("INBOX", "", "", big)[0] == "OK"
            for _ in range(20):
                client.append("INBOX", "", "", PLAIN)
            data = client.fetch("1:*", "(BODY.PEEK[])")[1]
            assert [item[1] for item in data if isinstance(item, tuple)] == [big] + [PLAIN] * 20
            part = client.fetch("1", "(BODY.PEEK[]<1000000.300000>)")[1][0]
            assert part[1] == big[1000000:1300000]
            client.logout()

        await deferToThread(talk)

    @coroutine
    async def test_shutdown(self) -> None:
        """Stopping the service tells idle clients, and waits for nobody else."""
        await self.start()

        def begin() -> imaplib.IMAP4:
            client = self.connect()
            client.login("me@example.test", "secret")
            return client

        client = await deferToThread(begin)
        stopped = self.service.stopService()
        line = await deferToThread(client.readline)
        assert line == b"* BYE [UNAVAILABLE] Server shutting down\r\n", line
        await deferToThread(client.shutdown)
        await stopped
