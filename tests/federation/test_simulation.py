"""A slice of the simulation: thirty domains, the same classes, the same figures for the same seed."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.simulation import SCENARIOS, Scenario

SMALL = Scenario(domains=30, messages=250)


class Simulation(SynchronousTestCase):
    def run_scenario(self, name: str) -> dict[str, Any]:
        figures = SCENARIOS[name](SMALL)
        self.assertEqual(figures["twice"], 0)
        self.assertEqual(figures["waiting"], 0)
        return figures

    def whole(self, figures: dict[str, Any]) -> None:
        """Every message arrived: those for MailX domains by federation, the others by SMTP."""
        self.assertEqual((figures["messages"], figures["stored"] + figures["by_smtp"], figures["lost"]), (250, 250, 0))

    def test_ordinary(self) -> None:
        figures = self.run_scenario("ordinary")
        self.whole(figures)
        self.assertEqual(figures["stored"], figures["federated"])
        self.assertLess(figures["p95_s"], 1.0)
        again = SCENARIOS["ordinary"](SMALL)
        for each in (figures, again):
            each.pop("cpu_ms")
        self.assertEqual(figures, again)

    def test_who_writes_more_often_looks_less(self) -> None:
        few, many = self.run_scenario("ordinary"), self.run_scenario("busy")
        self.assertLess(many["per_message"][-1]["https"], few["per_message"][-1]["https"])

    def test_outage(self) -> None:
        """One message asks after a server for all that wait, and the others follow when it is back."""
        figures = self.run_scenario("outage")
        self.whole(figures)
        self.assertGreater(figures["waiting_at_return"], 0)
        self.assertLess(figures["knocks_while_away"], figures["knocks_if_each_message_knocked"])
        self.assertLess(figures["busiest_second_after_return"], 10)

    def test_partition(self) -> None:
        figures = self.run_scenario("partition")
        self.whole(figures)
        self.assertGreater(figures["waiting_at_return"], 0)

    def test_rotation(self) -> None:
        """Nobody is told of the new keys, and no message is refused for them."""
        figures = self.run_scenario("rotation")
        self.whole(figures)
        self.assertEqual(figures["stored"], figures["federated"])
        shares = figures["share_that_knows_the_new_key_after_0_1_2_4_h"]
        self.assertEqual(shares, sorted(shares))

    def test_thief(self) -> None:
        """Who knew the domain gives nothing to a thief of its name and site, and tells its administrators."""
        figures = self.run_scenario("thief")
        self.assertGreater(figures["servers_that_knew_it"], 0)
        self.assertGreater(figures["servers_that_alerted"], 0)
        self.assertEqual(figures["given_to_the_thief_by_those_that_knew_it"], 0)
