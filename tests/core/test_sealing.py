"""Sealing: what a message becomes in the store, what decides its thread, and which messages the reactor seals itself."""

import threading
from functools import partial
from typing import Any
from unittest import mock

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailx.core import sealing
from mailx.mail.message import Message
from mailx.mail.summary import Summary, summarise
from mailx.store.blobs import Blobs
from mailx.store.cipher import Cipher, CipherError, Keys
from mailx.store.messages import open_content, open_summary

FIELDS = b"From: a@example.org\r\nSubject: s\r\n"


class SealingTests(TestCase):
    def setUp(self) -> None:
        self.cipher = Cipher(Keys({1: bytes(32)}, 1, bytes(32)))
        self.blobs = Blobs(self.mktemp(), self.cipher)
        self.sealing = sealing.Sealing(self.cipher, self.blobs, partial(deferToThread), 20_000)

    async def sealed(self, content: bytes) -> sealing.Sealed:
        return await self.sealing.seal(Message(content, len(content)))

    async def test_opens(self) -> None:
        """Summary and content open under the message's guid, and under no other."""
        content = FIELDS + b"\r\nhello\r\n"
        sealed = await self.sealed(content)
        assert sealed.content is not None
        self.assertEqual(open_content(self.cipher, sealed.guid, sealed.content), content)
        self.assertEqual(open_summary(self.cipher, sealed.guid, sealed.summary), summarise(content))
        self.assertEqual((sealed.size, sealed.file), (len(content), None))
        self.assertRaises(CipherError, open_content, self.cipher, bytes(16), sealed.content)
        self.assertNotEqual(sealed.guid, (await self.sealed(content)).guid)

    async def test_large(self) -> None:
        """What is large goes into a file, to the octet above the limit."""
        for size, file in ((20_000, False), (20_001, True)):
            sealed = await self.sealed(FIELDS + b"\r\n" + b"x" * (size - len(FIELDS) - 2))
            self.assertEqual((sealed.file is not None, sealed.content is None), (file, file))
        assert sealed.file is not None
        self.assertEqual(len(self.blobs.read(sealed.file.name)), 20_001)

    async def test_identifiers(self) -> None:
        """The own identifier, then In-Reply-To, then References in their order: the first and the last ones."""
        references = " ".join(f"<r{number}@x>" for number in range(20))
        sealed = await self.sealed(f"Message-ID: <own@x>\r\nIn-Reply-To: <r19@x>\r\nReferences: {references}\r\n\r\n".encode())
        self.assertEqual(sealed.identifiers, (b"own@x", b"r19@x", b"r0@x", *[b"r%d@x" % number for number in range(12, 19)]))
        self.assertEqual((await self.sealed(b"Subject: s\r\n\r\n")).identifiers, (b"",))

    async def test_hashes(self) -> None:
        """Each account has its own hashes; no identifier has no hash."""
        sealed = await self.sealed(b"In-Reply-To: <a@x>\r\n\r\n")
        (first,), (second,) = await self.sealing.threads(sealed, [1]), await self.sealing.threads(sealed, [2])
        self.assertEqual((first[0], len(first[1])), (b"", 16))
        self.assertNotEqual(first[1], second[1])
        many = await self.sealing.threads(sealed, range(1, 200))
        self.assertEqual((many[0], many[1], len(many)), (first, second, 199))

    async def test_where(self) -> None:
        """The reactor seals what is quick to summarise; what may be slow goes to a thread."""
        seen: list[bool] = []

        def spy(content: bytes) -> bytes:
            seen.append(threading.current_thread() is threading.main_thread())
            return summarise(content)

        cases: list[tuple[bytes, bool]] = [
            (FIELDS + b"\r\n" + b"text\r\n" * 600, True),
            (FIELDS + b"\r\n" + b"text\r\n" * 6000, False),
            (FIELDS + b"To: " + b"a@b," * 3000 + b"\r\n\r\n", False),
            (FIELDS + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 300, False),
            (b"Subject: no end\r\n", False),
        ]
        with mock.patch.object(sealing, "summarise", spy):
            for content, on_reactor in cases:
                await self.sealed(content)
                self.assertEqual(seen.pop(), on_reactor, content[:80])

    async def test_summary_is_of_what_is_stored(self) -> None:
        """A spool is read back: the summary describes the file's octets."""
        content = FIELDS + b"Message-ID: <big@x>\r\n\r\n" + b"text\r\n" * 10_000
        spool: Any = self.blobs.put(content)
        sealed = await self.sealing.seal(Message(spool, len(content)))
        self.assertIs(sealed.file, spool)
        summary = Summary(open_summary(self.cipher, sealed.guid, sealed.summary))
        self.assertEqual((summary.message_id, sealed.size), (b"big@x", len(content)))
