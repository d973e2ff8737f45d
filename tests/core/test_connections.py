"""Connection limits: counted in all and by address, and given back."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.connections import Gate


class GateTests(SynchronousTestCase):
    def test_limits(self) -> None:
        gate = Gate(3, 2)
        self.assertEqual([gate.enter("a"), gate.enter("a"), gate.enter("a")], [True, True, False])
        self.assertFalse(gate.full)
        self.assertTrue(gate.enter("b"))
        self.assertTrue(gate.full)
        self.assertFalse(gate.enter("c"))
        gate.leave("a")
        self.assertTrue(gate.enter("c"))

    def test_no_address(self) -> None:
        """Connections of a Unix socket count only in all."""
        gate = Gate(3, 1)
        self.assertEqual([gate.enter("") for _ in range(4)], [True, True, True, False])

    def test_network(self) -> None:
        """Who has an IPv6 network is one client."""
        gate = Gate(9, 2)
        self.assertEqual([gate.enter(f"2001:db8::{number}") for number in range(3)], [True, True, False])
        self.assertTrue(gate.enter("2001:db8:0:1::1"))
        gate.leave("2001:db8::1")
        self.assertTrue(gate.enter("2001:db8::2"))

    @given(st.lists(st.sampled_from("abc"), max_size=40))
    def test_nothing_stays(self, addresses: list[str]) -> None:
        gate = Gate(20, 6)
        entered = [address for address in addresses if gate.enter(address)]
        self.assertEqual(gate.count, len(entered))
        self.assertLessEqual(max((entered.count(address) for address in "abc"), default=0), 6)
        for address in entered:
            gate.leave(address)
        self.assertEqual(vars(gate), vars(Gate(20, 6)))
