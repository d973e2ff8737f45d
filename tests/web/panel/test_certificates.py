"""The page of the TLS certificates."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailx.config import TLS
from mailx.ops.certificates import Certificates
from mailx.web.panel.pages import certificates as pages
from tests.ops.test_certificates import issue
from tests.web.scene import Scene, scene_of

NAME = "mail.example.test"


class CertificatePages(TestCase):
    async def open(self, certificates: Certificates) -> Scene:
        return await scene_of(self, pages=[pages.Certificates], parts={"certificates": certificates})

    async def test_files(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, NAME, "imap.example.test")
        scene = await self.open(Certificates(TLS(certificates=(files,)), directory, NAME))
        page = await scene.get("/certificates")
        self.assertEqual(page.status, 200)
        for text in (NAME, "imap.example.test", "8 days left", files.certificate_file, files.key_file, "self-signed"):
            self.assertIn(text, page.text)
        self.assertNotIn("made it for itself", page.text)

    async def test_generated(self) -> None:
        scene = await self.open(Certificates(TLS(), Path(self.mktemp()), NAME))
        self.assertIn("This server made it for itself", (await scene.get("/certificates")).text)

    async def test_read_again(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, NAME)
        certificates = Certificates(TLS(certificates=(files,)), directory, NAME)
        scene = await self.open(certificates)
        before = certificates.overview()[0].fingerprint
        issue(directory, NAME)
        page = await scene.follow(await scene.post("/certificates/reload"))
        self.assertIn("were read again", page.text)
        self.assertNotEqual(certificates.overview()[0].fingerprint, before)
        self.assertEqual([entry.action for entry in await scene.parts.audit.list()][0], "certificates.reload")

    async def test_a_bad_file(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, NAME)
        scene = await self.open(Certificates(TLS(certificates=(files,)), directory, NAME))
        Path(files.certificate_file).write_text("<b>nothing</b>")
        page = await scene.follow(await scene.post("/certificates/reload"))
        self.assertIn("holds no certificate", page.text)
        self.assertIn("What was read before is served", page.text)
        self.assertEqual([entry.action for entry in await scene.parts.audit.list()][0], "certificates.reload")
        self.flushLoggedErrors()

    async def test_hostile_names(self) -> None:
        directory = Path(self.mktemp())
        files = issue(directory, NAME, "<script>alert(1)</script>")
        scene = await self.open(Certificates(TLS(certificates=(files,)), directory, NAME))
        self.assertNotIn("<script>alert", (await scene.get("/certificates")).text)
