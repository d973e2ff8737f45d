"""A real clamd looks at what comes, by every door."""

from smtplib import SMTPResponseException

from twisted.trial.unittest import SynchronousTestCase

from tests.system.clamd import VIRUS, Clamd
from tests.system.server import Server


class Scanned(SynchronousTestCase):
    def setUp(self) -> None:
        self.scanner = Clamd()
        self.addCleanup(self.scanner.stop)
        self.scanner.start()

    def server(self, **settings: str) -> Server:
        server = Server(
            self, {"clamav.socket": f'"{self.scanner.socket}"', **{f"clamav.{name}": value for name, value in settings.items()}}
        )
        server.start()
        return server

    def refused(self, server: Server, subject: str, body: str) -> int:
        with self.assertRaises(SMTPResponseException) as caught:
            server.send(subject, body)
        return caught.exception.smtp_code

    def test_refused_by_every_door(self) -> None:
        server = self.server()
        server.send("clean")
        self.assertEqual(self.refused(server, "ill", VIRUS.decode()), 550)
        with self.assertRaises(SMTPResponseException) as caught:
            server.submit(server.account, "mine", VIRUS.decode())
        self.assertEqual(caught.exception.smtp_code, 550)
        large = ("x" * 70 + "\r\n") * 40000
        server.send("large and clean", large)
        self.assertEqual(self.refused(server, "large and ill", large + VIRUS.decode()), 550)
        self.assertEqual(server.subjects(), ["clean", "large and clean"])
        self.assertNotIn(VIRUS.decode(), server.log())

    def test_filed_as_spam(self) -> None:
        server = self.server(found='"junk"')
        server.send("ill", VIRUS.decode())
        self.assertEqual(server.subjects(), [])
        self.assertEqual(server.subjects("Spam"), ["ill"])

    def test_away(self) -> None:
        careful, easy = self.server(), self.server(away='"accept"')
        self.scanner.stop()
        self.assertEqual(self.refused(careful, "later", "Hello"), 451)
        easy.send("anyway")
        self.assertEqual(easy.subjects(), ["anyway"])
