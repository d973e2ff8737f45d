"""What follows a call leaves nothing personal in plain on the disk, whatever becomes of it."""

from pathlib import Path

from twisted.trial.unittest import TestCase

from mailx.core import audit
from mailx.core.alerts import LOCKOUT, QUOTA, Alerts
from mailx.core.audit import Actor
from mailx.core.delivery_log import DeliveryLog
from mailx.core.posting import NotPosted
from mailx.core.remote_mailboxes import Place, RemoteMailboxes
from tests.core.calls_scene import scene
from tests.core.mail_out import LATER, NEVER
from tests.core.test_remote_mailboxes import Probes

HOOK = "https://walrus.example/quetzal?token=umbrella"


class AtRest(TestCase):
    timeout = 240

    async def test_known_words(self) -> None:
        here = await scene(self)
        world = here.office.world
        recorded = audit.Recording(world.store, world.cipher)
        log = DeliveryLog(world.store, world.cipher, here.settings, world.reactor)
        here.office.progress.listen(log.note)
        alerts = Alerts(world.store, world.cipher, here.settings, "mx.example.test", world.reactor)
        mailboxes = RemoteMailboxes(recorded, world.cipher, Probes())
        here.suppressions._store = recorded
        here.office.courier.answers.update({"zeppelin.example": NEVER, "yodel.example": LATER})
        here.poster.answers[HOOK] = NotPosted("no connection", unreachable=True)
        await here.start()
        bounced = await here.call("xerxes@zeppelin.example", HOOK)
        deferred = await here.call("violet@yodel.example", HOOK)
        await here.until_state(bounced, "bounced")
        await here.until_state(deferred, "deferred")
        await here.until_told(bounced, "waiting", "behind")
        with audit.acting(Actor("admin", "root", "192.0.2.77"), "suppression.add"):
            await here.suppressions.add("tamarind@sorbet.example", "rutabaga", 1)
        with audit.acting(Actor("admin", "root", "192.0.2.77"), "mailbox.add"):
            id = await mailboxes.add(Place("imaps", "Returned", "pumpkin.example", 993, "oleander", "nasturtium"))
        await mailboxes.test(id)
        await alerts.settle(QUOTA, {"marzipan@example.test": "lollipop is full"})
        alerts.tell(LOCKOUT, "192.0.2.78", "kumquat")
        await alerts.stop()
        await log.stop()
        self.assertEqual([each.address for each in await here.suppressions.list()], ["tamarind@sorbet.example", "xerxes@zeppelin.example"])
        await here.callbacks.stop()
        found = b"".join(path.read_bytes() for path in sorted(Path(world.directory).rglob("*")) if path.is_file())
        self.assertIn(bounced.envelope.encode(), found)  # the right files are looked at
        words = (
            "walrus quetzal umbrella xerxes zeppelin violet yodel tamarind sorbet rutabaga pumpkin oleander nasturtium marzipan lollipop"
        )
        for word in [*words.split(), "kumquat", "192.0.2.7", "No such user", "Greylisted", "Hello"]:
            self.assertNotIn(word.encode(), found, word)
            self.assertNotIn(word.encode("utf-16-le"), found, word)
