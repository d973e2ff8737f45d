"""Keys that change while mail flows between real servers, and somebody who brings a key of his own."""

import json
import re
import sys
import threading
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.system.daemon import wait
from tests.system.federation import federated
from tests.system.server import Server

RECOVERY = re.compile(r"mailx-recovery-1(?:-[A-Z2-7]{4})+")

# Connects with a certificate that a key of its own made for the domain, and says what came of it.
THIEF = """
import sys
from time import time
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from mailx.federation.certificates import Certificates
from mailx.federation.channel import Unreachable
from mailx.federation.connect import Connector
from mailx.federation.link import LinkLimits
from mailx.identity.encoding import key_from_text
from mailx.identity.statements import SeedSigner

local, remote, key, host, port = sys.argv[1:]

class Trust:
    async def keys(self, domain, presented):
        return (key_from_text(key),)

async def main():
    connector = Connector(
        trust=Trust(), identities=Certificates({local: SeedSigner(b"t" * 32)}.__getitem__, time), resolver=None,
        networks=lambda: ("127.0.0.0/8",), limits=LinkLimits(), reactor=reactor,
    )
    try:
        await connector.connect(local, remote, ((host, int(port)),))
        print("TAKEN")
    except Unreachable as error:
        print("REFUSED", error.security, error.reason)

Deferred.fromCoroutine(main()).addBoth(lambda result: (print(result or ""), reactor.stop()))
reactor.run()
"""


class Rotation(SynchronousTestCase):
    """Two servers that know each other by their configuration: they cannot look for a new key, they are told."""

    def setUp(self) -> None:
        self.one, self.two = federated(self, ["a.test", "b.test"])
        self.sent: list[str] = []

    def key(self, server: Server) -> str:
        return str(json.loads(server.ctl("--json", "key", "show", self.domain(server)))["key"])

    def domain(self, server: Server) -> str:
        return server.account.partition("@")[2]

    def traffic(self, over: threading.Event) -> None:
        """Mail both ways until ``over``."""
        while not over.is_set():
            number = len(self.sent) + 1
            for sender, receiver in ((self.one, self.two), (self.two, self.one)):
                sender.submit(receiver.account, f"message {number}")
            self.sent.append(f"message {number}")

    def all_arrived(self) -> None:
        for server in (self.one, self.two):
            wait(partial(self.has_all, server), partial(self.complaint, server))

    def has_all(self, server: Server) -> bool:
        return sorted(server.subjects()) == sorted(self.sent)

    def complaint(self, server: Server) -> str:
        return f"{server.subjects()} of {self.sent}"

    def knows(self, server: Server, other: Server) -> bool:
        """Whether the key of ``other`` is known to ``server``."""
        return self.key(other) in server.ctl("--json", "peer", "show", self.domain(other))

    def test_no_message_is_lost_or_waits(self) -> None:
        over, failures = threading.Event(), list[BaseException]()

        def run() -> None:
            try:
                self.traffic(over)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            for server in (self.one, self.two, self.one):
                before, mark = self.key(server), len(self.sent)
                server.ctl("key", "rotate", self.domain(server))
                self.assertNotEqual(self.key(server), before)
                wait(lambda mark=mark: len(self.sent) > mark + 2 or bool(failures), lambda: str(failures))
        finally:
            over.set()
            thread.join()
        self.assertEqual(failures, [])
        self.all_arrived()
        for server in (self.one, self.two):
            self.assertEqual(len(set(server.subjects())), len(server.subjects()))
            self.assertNotIn('"queue.deferred"', server.log())
            self.assertNotIn('"peer.key_refused"', server.log())
        for server, other in ((self.one, self.two), (self.two, self.one)):  # each has heard of the other's new key
            wait(partial(self.knows, server, other), server.log)

    def test_the_recovery_key_ends_a_stolen_one(self) -> None:
        one, two = self.one, self.two
        one.submit(two.account, "before")
        two.message("before")
        made = RECOVERY.findall(one.ctl("key", "recovery", "a.test", "--unproved"))
        one.ctl("key", "recover", "a.test", "--yes", "--stdin", given=made[0])
        wait(partial(self.knows, two, one), two.log)
        one.submit(two.account, "after")
        two.message("after")
        two.stop()  # and misses what it is told next
        one.ctl("key", "rotate", "a.test")
        two.start()
        two.submit(one.account, "late")
        one.message("late")
        self.assertNotIn('"queue.deferred"', two.log())
        self.assertTrue(self.knows(two, one))

    def test_a_key_that_nobody_announced_is_refused_and_alerted(self) -> None:
        one, two = self.one, self.two
        place = two.address, str(two.ports["federation.port"])
        said = two.run(sys.executable, "-c", THIEF, "a.test", "b.test", self.key(two), *place, PYTHONPATH=":".join(sys.path))
        self.assertIn("REFUSED True", said)
        self.assertNotIn("TAKEN", said)
        wait(lambda: '"peer.key_refused"' in two.log(), lambda: two.log()[-2000:])
        (refused,) = [entry for line in two.log().splitlines() if (entry := json.loads(line)).get("event") == "federation.refused"]
        self.assertIn("not the domain's", str(refused))
        one.submit(two.account, "the owner's mail goes on")
        two.message("the owner's mail goes on")
