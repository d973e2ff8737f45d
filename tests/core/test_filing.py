"""Messages that their owner files in person (IMAP APPEND)."""

from typing import Any

from mailx.mail.envelope import Envelope, Filing, Origin, new_id
from mailx.mail.mailbox import Flag
from mailx.mail.message import Message
from mailx.mail.names import MailboxError
from mailx.store.messages import charge
from tests.core.test_reception import MAIL, ReceptionTestCase


class FileTests(ReceptionTestCase):
    def filing(self, user: Any, content: bytes = MAIL, mailbox: str = "Drafts", **fields: Any) -> Envelope:
        origin = Origin("IMAP", new_id(), account=user.id)
        return Envelope(new_id(), None, (user.address,), Message(content, len(content)), origin, filing=Filing(mailbox, **fields))

    async def test_as_given(self) -> None:
        """Octets, flags, date and mailbox are the owner's; the answer names the UIDs."""
        (ann,) = await self.begin("ann")
        flags = int(Flag.SEEN | Flag.DRAFT)
        first = await self.world.file(ann, b"Return-Path: <a@b.c>\r\nBcc: x@y.z\r\n\r\n", "Drafts", flags=flags, received=12345)
        self.assertEqual(await self.world.contents(ann, "Drafts"), [b"Return-Path: <a@b.c>\r\nBcc: x@y.z\r\n\r\n"])
        self.assertEqual(await self.rows("SELECT uid, flags, received FROM entries"), [(first, flags, 12345)])

    async def test_several(self) -> None:
        """Several messages are filed in one transaction, UIDs in their order."""
        (ann,) = await self.begin("ann")
        filed = await self.world.reception.file(ann, [self.filing(ann, MAIL + b"%d\r\n" % number) for number in range(3)])
        self.assertEqual(filed.uids, (1, 2, 3))
        self.assertEqual(
            [(filed.uidvalidity,)], await self.rows("SELECT DISTINCT m.uidvalidity FROM mailboxes m JOIN entries e ON e.mailbox_id = m.id")
        )
        self.assertEqual(await self.rows("SELECT DISTINCT modseq FROM entries"), [(2,)])

    async def test_keywords(self) -> None:
        """Keywords get bits of the account."""
        (ann,) = await self.begin("ann")
        await self.world.file(ann, MAIL, keywords=("$Forwarded", "work"))
        ((flags,),) = await self.rows("SELECT flags FROM entries")
        self.assertEqual(bin(flags).count("1"), 2)
        self.assertEqual(
            sorted(1 << bit for (bit,) in await self.rows("SELECT bit FROM keywords")),
            sorted(1 << bit for bit in range(63) if flags >> bit & 1),
        )

    async def test_missing_mailbox(self) -> None:
        (ann,) = await self.begin("ann")
        with self.assertRaises(MailboxError) as caught:
            await self.world.reception.file(ann, [self.filing(ann, mailbox="Nowhere")])
        self.assertEqual(caught.exception.code, "TRYCREATE")

    async def test_over_quota(self) -> None:
        """All or none."""
        (ann,) = await self.begin("ann", accounts={"quota": charge(len(MAIL)) * 2})
        with self.assertRaises(MailboxError) as caught:
            await self.world.reception.file(ann, [self.filing(ann) for _ in range(3)])
        self.assertEqual(caught.exception.code, "OVERQUOTA")
        self.assertEqual(await self.rows("SELECT used FROM accounts"), [(0,)])
        self.assertEqual(len((await self.world.reception.file(ann, [self.filing(ann) for _ in range(2)])).uids), 2)

    async def test_inbox_in_any_case(self) -> None:
        (ann,) = await self.begin("ann")
        await self.world.reception.file(ann, [self.filing(ann, mailbox="inbox")])
        self.assertEqual(len(await self.world.contents(ann, "INBOX")), 1)


class PostgreSQLFileTests(FileTests):
    engine = "postgresql"
