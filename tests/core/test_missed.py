"""The connection that brings changes of other nodes was lost: whatever is selected is compared with the database."""

from twisted.trial.unittest import TestCase

from mailx.mail.mailbox import Change
from tests.scenery import world

CONTENT = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"


class MissedTests(TestCase):
    async def test_sessions_learn_what_was_missed(self) -> None:
        scene = await world(self)
        user = await scene.user("me@example.test")
        session = await scene.mailboxes.select(user, "INBOX", False)
        tell = scene.store._store._announcer.tell
        scene.store._store._announcer.tell = lambda change: None
        await scene.deliver("me@example.test", CONTENT)
        self.assertIsNone(session.updates(True).exists)
        tell(Change(0, 0, partial=True))
        await session._feed.settle()
        self.assertEqual(session.updates(True).exists, 1)

    async def test_one_that_is_being_selected_learns_it_too(self) -> None:
        scene = await world(self)
        recording = scene.changes.record()
        scene.store._store._announcer.tell(Change(0, 0, partial=True))
        self.assertEqual(recording.of(5), [Change(0, 0, partial=True)])
        recording.stop()
