"""Mail between real MailX servers over federation."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailx.identity.encoding import key_from_text
from mailx.identity.statements import Statement
from tests.system.federation import federated, key_of
from tests.system.server import Server


def delivered(server: Server, address: str) -> list[dict[str, Any]]:
    """The facts of each delivery to ``address`` in the timelines of ``server``."""
    traced = json.loads(server.ctl("--json", "trace", address))
    return [event["facts"] for message in traced["messages"] for event in message["events"] if event["event"] == "delivered"]


class Two(SynchronousTestCase):
    """Two servers that know each other's keys."""

    def test_mail_goes_and_comes_with_a_proof_of_delivery(self) -> None:
        one, two = federated(self, ["a.test", "b.test"])
        for sender, receiver in ((one, two), (two, one)):
            sender.submit(receiver.account, "over federation")
            self.assertIn("It works.", receiver.message("over federation").get_content())
            (facts,) = delivered(sender, receiver.account)
            self.assertEqual(facts["security"], "federated")
            proof = Statement.decode(json.loads(facts["proof"]), "acknowledgement")
            self.assertTrue(proof.signed_by(key_from_text(key_of(receiver))))
            self.assertEqual([each["address"] for each in proof.body["recipients"]], [receiver.account])
        for server in (one, two):
            told = server.metrics()
            for direction in ("in", "out"):
                self.assertEqual(told[f'mailx_federation_messages_total{{direction="{direction}",outcome="taken"}}'], 1)
                self.assertEqual(told[f'mailx_federation_seconds_count{{direction="{direction}"}}'], 1)
                self.assertGreater(told[f'mailx_federation_message_octets_total{{direction="{direction}"}}'], 200)
                self.assertEqual(told[f'mailx_federation_channels_total{{direction="{direction}"}}'], 1)
            self.assertEqual(told['mailx_peers{source="static"}'], 1)
