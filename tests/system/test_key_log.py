"""Key logs of real servers: audits over channels and HTTPS, and a database that is restored from a backup."""

import json
import shutil
from typing import Any
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import key_log
from mailx.identity.encoding import key_from_text, unb64
from tests.system.daemon import wait
from tests.system.federation import federated, key_of
from tests.system.server import PATIENCE, Server


def logs(server: Server) -> dict[str, Any]:
    """The logs that the server knows, by domain."""
    return {each["domain"]: each for each in json.loads(server.ctl("--json", "key", "logs"))["logs"]}


def audit(server: Server, name: str, *, good: bool = True) -> dict[str, Any]:
    """What an audit says."""
    finding: dict[str, Any] = json.loads(server.ctl("--json", "key", "audit", name, expect=0 if good else 1))
    server.case.assertEqual(finding["good"], good, finding)
    return finding


class Logs(SynchronousTestCase):
    """Two servers that know each other's keys."""

    def event(self, server: Server, name: str) -> None:
        """Wait until the server has logged it."""
        wait(lambda: f'"event": "{name}"' in server.log() or f'"event":"{name}"' in server.log(), lambda: f"{name}: {server.log()[-3000:]}")

    def test_one_server_audits_the_other(self) -> None:
        one, two = federated(self, ["a.test", "b.test"])
        one.submit(two.account, "hello")
        two.message("hello")
        finding = audit(one, "b.test")
        self.assertEqual([each["kind"] for each in finding["entries"]], ["domain-key", "recovery-key"])
        self.assertEqual(finding["entries"][0]["key"], key_of(two))
        self.assertIn(f"Recovery key (public half): {finding['entries'][1]['key']}\n", two.ctl("key", "show", "b.test"))
        self.assertIn("mailxctl key audit", one.ctl("key", "show", two.account, expect=None))
        two.ctl("key", "recovery", "--unproved", "b.test")
        self.assertEqual(audit(one, "b.test")["size"], finding["size"] + 2)
        self.assertEqual((logs(one)["b.test"]["ours"], logs(two)["b.test"]["ours"]), (False, True))
        self.assertEqual(logs(one)["b.test"]["root"], logs(two)["b.test"]["root"])
        self.assertTrue(audit(two, "b.test")["ours"])
        self.assertEqual(audit(one, two.account)["entries"], [])  # its mail is not sealed
        self.assertIn("No fork", one.ctl("key", "evidence"))

    def test_anybody_reads_a_log_by_https(self) -> None:
        (one,) = federated(self, ["a.test"])

        def get(path: str) -> Any:
            port = one.ports["federation.https_port"]
            with urlopen(f"https://{one.address}:{port}/log/{path}domain=a.test", timeout=PATIENCE, context=one.trust()) as answer:
                return json.load(answer)

        head = key_log.read_head(get("head?")["head"], "a.test")
        self.assertTrue(head.statement.signed_by(key_from_text(key_of(one))))
        reader = key_log.Reader({})
        for each in get("leaves?first=0&")["leaves"]:
            reader.add(unb64(each))
        reader.finish(head)
        self.assertEqual(head.size, 2)

    def test_a_database_from_a_backup(self) -> None:
        """Its log goes on in an epoch, both servers' administrators hear of it, and then the logs agree again."""
        one, two = federated(self, ["a.test", "b.test"])
        audit(one, "b.test")
        two.stop()
        data, backup = two.directory / "var", two.directory / "backup"
        shutil.copytree(data, backup, ignore=lambda *_: {"admin.sock"})
        two.start()
        two.ctl("key", "recovery", "--unproved", "b.test")
        self.assertEqual(audit(one, "b.test")["size"], 4)
        two.stop()
        shutil.rmtree(data)
        shutil.move(backup, data)
        two.start()
        self.assertEqual(logs(two)["b.test"]["size"], 2)
        one.submit(two.account, "after the restore")
        two.message("after the restore")
        self.event(two, "key_log.restored")
        self.assertEqual((logs(two)["b.test"]["epoch"], logs(two)["b.test"]["size"]), (1, 3))
        finding = json.loads(one.ctl("--json", "key", "audit", "b.test", expect=None))
        self.assertEqual((finding["epoch"], finding["size"]), (1, 3))
        self.event(one, "key_log.lost")
        two.ctl("key", "recovery", "--unproved", "b.test")
        self.assertEqual(audit(one, "b.test")["size"], 5)
