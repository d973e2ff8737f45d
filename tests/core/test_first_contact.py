"""Where mail of strangers goes, who is known, and what moving it decides."""

from twisted.trial.unittest import TestCase

from mailx.core import contacts
from mailx.core.contacts import ACCEPTED, BLOCKED, REQUESTED, UNKNOWN
from mailx.mail.address import Address
from mailx.mail.envelope import GENERATED, WEBHOOK
from mailx.mail.mailbox import Flag
from mailx.store import contacts as rows
from tests.core.contacts_scene import Scene, scene

BLOCKED_REPLY = "550 5.7.1 Sender not accepted by recipient"
ALL = {"requests": "all"}
ME = "me@example.test"


def report(identifier: str, part: str = "text/rfc822-headers", envelope_id: str = "") -> str:
    """The body of a delivery report on the message ``identifier``, with its header."""
    status = f"Reporting-MTA: dns; mx.example.org\r\n{envelope_id}\r\n\r\nFinal-Recipient: rfc822;x@example.org\r\nAction: failed\r\n"
    return (
        "--b\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}"
        f"--b\r\nContent-Type: {part}\r\n\r\nFrom: me@example.test\r\nMessage-ID: <{identifier}>\r\n\r\n"
        "--b--\r\n"
    )


REPORT_HEAD = "From: MAILER-DAEMON@example.org\r\nSubject: Failed\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"


class Base(TestCase):
    here: Scene
    engine = ""

    async def begin(self, **contacts: str) -> None:
        self.here = await scene(self, engine=self.engine, contacts=contacts)

    async def trust(self, address: str) -> str:
        return await self.here.contacts.trust(ME, address)


class WhereItGoes(Base):
    async def test_a_stranger_over_federation_waits_in_requests(self) -> None:
        await self.begin()
        await self.here.federate("ada@example.org")
        self.assertEqual(await self.here.where(), {"Requests": 1})
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("ada@example.org"), REQUESTED)

    async def test_by_smtp_only_who_wants_it_is_asked(self) -> None:
        await self.begin()
        await self.here.bring("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 1})
        await self.here.contacts.configure(ME, requests="all")
        await self.here.bring("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 1, "Requests": 1})
        await self.here.contacts.configure(ME, requests="none")
        await self.here.federate("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 2, "Requests": 1})
        await self.here.contacts.configure(ME, requests="")
        await self.here.federate("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 2, "Requests": 2})

    async def test_who_is_accepted_comes_in(self) -> None:
        await self.begin()
        await self.here.contacts.accept(ME, "Ada@Example.ORG")
        await self.here.federate("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 1})

    async def test_a_key_proves_its_own_domain_only(self) -> None:
        await self.begin()
        await self.here.contacts.accept(ME, "ada@example.org")
        await self.here.federate("ada@example.org", domain="example.net")
        self.assertEqual(await self.here.where(), {"Requests": 1})

    async def test_by_smtp_dmarc_proves(self) -> None:
        await self.begin(**ALL)
        await self.here.contacts.accept(ME, "ada@example.org")
        verdicts: list[tuple[dict[str, str], bool]] = [
            ({}, False),
            ({"dmarc": "pass example.org"}, True),
            ({"dmarc": "fail example.org", "spf": "pass example.org"}, False),
            ({"dmarc": "temperror example.org", "dkim": "pass example.org"}, False),
            ({"dmarc": "none example.org"}, False),
            ({"dmarc": "none example.org", "spf": "pass example.org"}, True),
            ({"dmarc": "none example.org", "dkim": "fail example.net, pass example.org"}, True),
            ({"dmarc": "none example.org", "dkim": "pass example.net", "spf": "pass mail.example.org"}, False),
            ({"spf": "pass example.org"}, True),
        ]
        for found, known in verdicts:
            self.here.verdicts.found = found
            before = await self.here.count("INBOX")
            await self.here.bring("ada@example.org")
            self.assertEqual(await self.here.count("INBOX") - before, int(known), found)

    async def test_a_message_of_several_authors_is_nobodys(self) -> None:
        await self.begin(**ALL)
        await self.here.contacts.accept(ME, "ada@example.org")
        self.here.verdicts.found = {"dmarc": "pass example.org"}
        for author in ("ada@example.org, eve@example.org", "ada@example.org\r\nFrom: eve@example.org", "nobody", '"ada@example.org" <eve>'):
            await self.here.bring(author, sender="ada@example.org")
        self.assertEqual(await self.here.where(), {"Requests": 4})

    async def test_junk_goes_where_junk_goes(self) -> None:
        await self.begin(**ALL)
        self.here.verdicts.junk = True
        await self.here.bring("ada@example.org")
        self.assertEqual(await self.here.where(), {"Spam": 1})

    async def test_each_account_has_its_own_contacts(self) -> None:
        await self.begin()
        other = await self.here.world.user("other@example.test")
        await self.here.contacts.accept("other@example.test", "ada@example.org")
        await self.here.federate("ada@example.org", [ME, "other@example.test"])
        self.assertEqual(await self.here.where(), {"Requests": 1})
        self.assertEqual(await self.here.where(other), {"INBOX": 1})

    async def test_this_server_and_the_owner_are_no_strangers(self) -> None:
        await self.begin(**ALL)
        for protocol in (GENERATED, WEBHOOK):
            await self.here.bring("postmaster@example.test", protocol=protocol)
        await self.here.submit(ME)
        self.assertEqual(await self.here.where(), {"INBOX": 3})

    async def test_a_neighbour_is_who_logged_in(self) -> None:
        await self.begin(**ALL)
        other = await self.here.world.user("other@example.test")
        await self.here.submit(ME, user=other, sender="other@example.test")
        self.assertEqual(await self.here.where(), {"Requests": 1})
        await self.here.contacts.accept(ME, "other@example.test")
        await self.here.submit(ME, user=other, sender="other@example.test")
        self.assertEqual(await self.here.where(), {"INBOX": 1, "Requests": 1})
        await self.here.contacts.accept(ME, "boss@example.test")
        forged = b"From: boss@example.test\r\nSubject: Pay\r\n\r\nNow\r\n"
        await self.here.submit(ME, user=other, sender="other@example.test", content=forged)
        self.assertEqual(await self.here.where(), {"INBOX": 1, "Requests": 2})

    async def test_requests_is_made_where_it_is_missing(self) -> None:
        await self.begin()
        await self.here.world.mailboxes.delete(self.here.user, "Requests")
        await self.here.federate("ada@example.org")
        self.assertEqual(await self.here.where(), {"Requests": 1})
        self.assertIn("Requests", await self.here.world.mailboxes.subscriptions(self.here.user))


class WrittenTo(Base):
    async def test_people_written_to_are_known_when_the_reply_is_given(self) -> None:
        await self.begin(**ALL)
        other = await self.here.world.user("other@example.test")
        await self.here.submit("other@example.test")
        self.assertEqual(await self.trust("other@example.test"), ACCEPTED)
        await self.here.submit(ME, user=other, sender="other@example.test")
        self.assertEqual(await self.here.where(), {"INBOX": 1})

    async def test_the_oldest_make_room_now_and_then(self) -> None:
        """Counting twenty thousand for each message would cost more than the message."""
        await self.begin()
        self.patch(rows, "WRITTEN_LIMIT", 3)
        self.patch(contacts, "_ROOM_EVERY", 5)
        for number in range(11):
            noting = self.here.contacts.wrote(self.here.user.id, [Address.parse(f"r{number}@example.org")])
            assert noting is not None
            await noting
            left = len(await self.here.contacts.list(ME, ACCEPTED))
            self.assertEqual(left, number + 1 if number < 5 else number - 2 if number < 10 else 3)

    async def test_an_automatic_answer_makes_no_contact(self) -> None:
        await self.begin()
        await self.here.world.user("other@example.test")
        await self.here.submit("other@example.test", sender=None)
        self.assertEqual(await self.trust("other@example.test"), UNKNOWN)

    async def test_a_request_becomes_a_contact(self) -> None:
        await self.begin()
        await self.here.world.user("other@example.test")
        self.here.contacts.requested(self.here.user.id, (await self.here.world.accounts.find("other@example.test")).user.address)
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("other@example.test"), REQUESTED)
        await self.here.submit("other@example.test")
        self.assertEqual(await self.trust("other@example.test"), ACCEPTED)

    async def test_while_the_store_is_away_it_is_noted_later(self) -> None:
        await self.begin()
        from mailx.mail.address import Address
        from mailx.mail.reply import Unavailable

        store, write = self.here.world.store, self.here.world.store.write

        async def away(job: object, *arguments: object) -> None:
            raise Unavailable("away")

        self.patch(self.here.contacts, "_store", type("Away", (), {"write": staticmethod(away), "read": store.read})())
        noted = self.here.contacts.wrote(self.here.user.id, [Address.parse("ada@example.org")])
        assert noted is not None
        await noted
        self.assertEqual(await self.trust("ada@example.org"), UNKNOWN)
        self.here.contacts._store = store
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("ada@example.org"), ACCEPTED)
        self.assertIs(store.write.__func__, write.__func__)


class Answers(Base):
    async def bring(self, body: str, head: str = REPORT_HEAD) -> None:
        await self.here.world.deliver(ME, (head + body).encode(), None)

    async def test_reports_on_own_mail_come_in(self) -> None:
        await self.begin(**ALL)
        await self.here.world.user("other@example.test")
        id = await self.here.submit("other@example.test")
        own = f"{id}@example.test"
        await self.bring(report(own))
        await self.bring(report(own, "message/rfc822"))
        await self.bring(report("lost@example.test", envelope_id=f"Original-Envelope-Id: {id}\r\n"))
        await self.bring("I am away.\r\n", f"From: x@example.org\r\nIn-Reply-To: <{own}>\r\n\r\n")
        self.assertEqual(await self.here.where(), {"INBOX": 4})

    async def test_other_reports_are_strangers(self) -> None:
        await self.begin(**ALL)
        other = await self.here.world.user("other@example.test")
        others = await self.here.submit(ME, user=other, sender="other@example.test")
        before = await self.here.where()
        await self.bring(report("forged@example.test"))
        await self.bring(report(f"{others}@example.test"))
        await self.bring("Nothing in it.\r\n")
        await self.here.submit("other@example.test")
        for address in (ME, "other@example.test"):  # by which mail is found as well
            await self.bring(report(address))
            await self.bring("I am away.\r\n", f"From: x@example.org\r\nIn-Reply-To: <{address}>\r\n\r\n")
        self.assertEqual(await self.here.count("Requests"), before["Requests"] + 7)


class Blocked(Base):
    async def test_blocked_senders_are_refused_the_same_way_everywhere(self) -> None:
        await self.begin()
        await self.here.contacts.block(ME, "ada@example.org")
        await self.here.contacts.block(ME, "@spam.example")
        for way in (self.here.bring, self.here.federate):
            self.assertEqual(await self.here.refused(way("ada@example.org")), BLOCKED_REPLY)
            self.assertEqual(await self.here.refused(way("x@spam.example")), BLOCKED_REPLY)
            self.assertEqual(await self.here.refused(way("x@deep.down.spam.example")), BLOCKED_REPLY)
            self.assertEqual(await self.here.refused(way("x@notspam.example")), "")

    async def test_the_author_is_refused_whatever_the_envelope_says(self) -> None:
        await self.begin()
        await self.here.contacts.block(ME, "ada@example.org")
        self.assertEqual(await self.here.refused(self.here.bring("ada@example.org", sender="bounce-1@list.example")), BLOCKED_REPLY)
        self.assertEqual(await self.here.refused(self.here.bring("ada@example.org", sender="")), BLOCKED_REPLY)
        self.assertEqual(await self.here.where(), {})

    async def test_nor_does_another_name_beside_it_help(self) -> None:
        await self.begin()
        await self.here.contacts.block(ME, "ada@example.org")
        await self.here.lists.block("@spam.example")
        for blocked in ("ada@example.org", "x@spam.example"):
            for author in (
                f"eve@example.net, Me <{blocked}>",
                f"eve@example.net\r\nFrom: {blocked}",
                f"Friends: eve@example.net, {blocked.upper()};",
                f"{blocked} <{blocked}>, <eve@example.net>",
            ):
                self.assertEqual(await self.here.refused(self.here.bring(author, sender="eve@example.net")), BLOCKED_REPLY, author)
        await self.here.bring("eve@example.net, joe@example.net", sender="eve@example.net")
        self.assertEqual(await self.here.where(), {"INBOX": 1})

    async def test_a_blocked_author_among_others_lies_in_spam(self) -> None:
        await self.begin()
        other = await self.here.world.user("other@example.test")
        await self.here.contacts.block(ME, "ada@example.org")
        await self.here.bring("ada@example.org", [ME, "other@example.test"], sender="bounce-1@list.example")
        self.assertEqual(await self.here.where(), {"Spam": 1})
        self.assertEqual(await self.here.where(other), {"INBOX": 1})

    async def test_the_servers_list_holds_for_everybody(self) -> None:
        await self.begin()
        await self.here.lists.block("@spam.example")
        for way in (self.here.bring, self.here.federate):
            self.assertEqual(await self.here.refused(way("x@mail.spam.example")), BLOCKED_REPLY)
        self.assertEqual(await self.here.refused(self.here.bring("x@spam.example", sender="fine@example.org")), BLOCKED_REPLY)
        nobody = self.here.federate("x@other.example", sender="", domain="spam.example")
        self.assertEqual(await self.here.refused(nobody), BLOCKED_REPLY)

    async def test_reports_of_this_server_are_never_refused(self) -> None:
        await self.begin()
        await self.here.lists.block("postmaster@example.org")
        await self.here.contacts.block(ME, "@example.org")
        await self.here.bring("postmaster@example.org", protocol=GENERATED, sender="")
        await self.here.bring("postmaster@example.org", protocol=GENERATED)
        self.assertEqual(await self.here.where(), {"INBOX": 2})


class Deciding(Base):
    async def ask(self, *authors: str) -> None:
        for author in authors:
            await self.here.federate(author)

    async def move(self, source: str, target: str, uids: list[int] | None = None) -> None:
        mailboxes = self.here.world.mailboxes
        selected = await mailboxes.select(self.here.user, source, False)
        await mailboxes.move(selected, uids or list(selected.uids), target)
        selected.close()

    async def copy_and_expunge(self, source: str, target: str, by_uid: bool = True) -> None:
        mailboxes = self.here.world.mailboxes
        selected = await mailboxes.select(self.here.user, source, False)
        uids = list(selected.uids)
        await mailboxes.copy(selected, uids, target)
        await mailboxes.store(selected, uids, "add", Flag.DELETED, ())
        await mailboxes.expunge(selected, uids if by_uid else None)
        selected.close()

    async def test_out_of_requests_accepts(self) -> None:
        await self.begin()
        await self.ask("ada@example.org")
        await self.move("Requests", "INBOX")
        self.assertEqual(await self.trust("ada@example.org"), ACCEPTED)
        await self.ask("ada@example.org")
        self.assertEqual(await self.here.where(), {"INBOX": 2})

    async def test_to_trash_or_spam_rejects(self) -> None:
        await self.begin()
        await self.here.world.mailboxes.create(self.here.user, "Trash/2026")
        for number, target in enumerate(("Trash", "Spam", "Trash/2026")):
            author = f"ada{number}@example.org"
            await self.ask(author)
            await self.move("Requests", target)
            self.assertEqual(await self.trust(author), BLOCKED)
            self.assertEqual(await self.here.refused(self.here.federate(author)), BLOCKED_REPLY)

    async def test_clients_without_move(self) -> None:
        await self.begin()
        await self.ask("ada@example.org", "bob@example.org")
        await self.copy_and_expunge("Requests", "Archive")
        self.assertEqual([await self.trust("ada@example.org"), await self.trust("bob@example.org")], [ACCEPTED, ACCEPTED])
        await self.ask("eve@example.org")
        await self.copy_and_expunge("Requests", "Trash", by_uid=False)
        self.assertEqual(await self.trust("eve@example.org"), BLOCKED)

    async def test_a_copy_alone_and_an_expunge_alone_decide_nothing(self) -> None:
        await self.begin()
        await self.ask("ada@example.org")
        mailboxes = self.here.world.mailboxes
        selected = await mailboxes.select(self.here.user, "Requests", False)
        await mailboxes.copy(selected, [1], "INBOX")
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("ada@example.org"), REQUESTED)
        inbox = await mailboxes.select(self.here.user, "INBOX", False)
        await mailboxes.move(inbox, [1], "Archive")
        archive = await mailboxes.select(self.here.user, "Archive", False)
        await mailboxes.store(archive, [1], "add", Flag.DELETED, ())
        await mailboxes.expunge(archive)
        await mailboxes.store(selected, [1], "add", Flag.DELETED, ())
        await mailboxes.expunge(selected)
        self.assertEqual(await self.trust("ada@example.org"), REQUESTED)
        for each in (selected, inbox, archive):
            each.close()

    async def test_what_others_keep_of_the_same_message_does_not_count(self) -> None:
        await self.begin()
        await self.here.world.user("other@example.test")
        await self.here.contacts.configure("other@example.test", requests="none")
        await self.here.federate("ada@example.org", [ME, "other@example.test"])
        selected = await self.here.world.mailboxes.select(self.here.user, "Requests", False)
        await self.here.world.mailboxes.store(selected, [1], "add", Flag.DELETED, ())
        await self.here.world.mailboxes.expunge(selected)
        selected.close()
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("ada@example.org"), REQUESTED)

    async def test_a_rejection_is_taken_back(self) -> None:
        await self.begin()
        await self.ask("ada@example.org")
        await self.move("Requests", "Trash")
        await self.move("Trash", "Requests")
        self.assertEqual(await self.trust("ada@example.org"), UNKNOWN)
        await self.copy_and_expunge("Requests", "Spam")
        self.assertEqual(await self.trust("ada@example.org"), BLOCKED)
        await self.copy_and_expunge("Spam", "Requests")
        self.assertEqual(await self.trust("ada@example.org"), UNKNOWN)
        await self.move("Requests", "INBOX")
        self.assertEqual(await self.trust("ada@example.org"), ACCEPTED)

    async def test_who_is_accepted_is_not_rejected_by_what_waited(self) -> None:
        await self.begin()
        await self.ask("ada@example.org")
        await self.here.federate("ada@example.org", domain="evil.example")
        await self.move("Requests", "INBOX", [1])
        await self.move("Requests", "Trash", [2])
        self.assertEqual(await self.trust("ada@example.org"), ACCEPTED)

    async def test_an_acceptance_lifts_a_block(self) -> None:
        await self.begin()
        await self.ask("ada@example.org", "ada@example.org")
        await self.move("Requests", "Trash", [1])
        await self.move("Requests", "INBOX", [2])
        self.assertEqual(await self.trust("ada@example.org"), ACCEPTED)
        self.assertEqual(await self.here.refused(self.here.federate("ada@example.org")), "")

    async def test_moves_elsewhere_decide_nothing(self) -> None:
        await self.begin()
        await self.here.world.mailboxes.create(self.here.user, "Requests/Later")
        await self.here.bring("ada@example.org")
        await self.move("INBOX", "Trash")
        self.assertEqual(await self.trust("ada@example.org"), UNKNOWN)
        await self.ask("bob@example.org")
        await self.move("Requests", "Requests/Later")
        await self.here.contacts.flush()
        self.assertEqual(await self.trust("bob@example.org"), REQUESTED)
        await self.move("Requests/Later", "INBOX")
        self.assertEqual(await self.trust("bob@example.org"), ACCEPTED)

    async def test_many_at_once(self) -> None:
        await self.begin()
        authors = [f"a{number}@example.org" for number in range(450)]
        for author in authors:
            await self.here.world.file(self.here.user, f"From: {author}\r\n\r\nHello\r\n".encode(), "Requests")
        await self.move("Requests", "Spam")
        counts = await self.here.contacts.counts(ME)
        self.assertEqual(counts[BLOCKED], 450)


class PostgreSQLWhereItGoes(WhereItGoes):
    engine = "postgresql"


class PostgreSQLDeciding(Deciding):
    engine = "postgresql"


class PostgreSQLWrittenTo(WrittenTo):
    engine = "postgresql"
