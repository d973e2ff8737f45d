"""The VRF: the vectors of RFC 9381 B.3, and what nobody can make a proof of."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import vrf

# Secret, input, proof, output: examples 16, 17 and 18.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab12"
        "68a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "72",
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926d"
        "a3ef39226bbc355bdc9850112c8f4b02",
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "af82",
        "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a"
        "2d41b00b05081ed0f58ee5e31b3a970e",
        "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
    ),
]
SECRET = bytes(range(32))
KEY = vrf.public(SECRET)
ORDER = 2**252 + 27742317777372353535851937790883648493
# All points whose order divides the cofactor, in every form that decoders are known to take.
SMALL = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


class Vectors(SynchronousTestCase):
    def test_the_examples(self) -> None:
        for secret, data, proof, output in VECTORS:
            key = vrf.public(bytes.fromhex(secret))
            self.assertEqual(vrf.prove(bytes.fromhex(secret), bytes.fromhex(data)).hex(), proof)
            self.assertEqual(vrf.verify(key, bytes.fromhex(data), bytes.fromhex(proof)).hex(), output)
            self.assertEqual(vrf.output(bytes.fromhex(proof)).hex(), output)


class Proofs(SynchronousTestCase):
    @settings(max_examples=40)
    @given(st.binary(max_size=300))
    def test_what_is_proved_holds_and_is_always_the_same(self, data: bytes) -> None:
        proof = vrf.prove(SECRET, data)
        self.assertEqual(proof, vrf.prove(SECRET, data))
        self.assertEqual(vrf.verify(KEY, data, proof), vrf.output(proof))

    @settings(max_examples=40)
    @given(st.binary(max_size=40), st.integers(0, vrf.PROOF_SIZE * 8 - 1))
    def test_a_changed_bit_is_no_proof(self, data: bytes, bit: int) -> None:
        proof = bytearray(vrf.prove(SECRET, data))
        proof[bit >> 3] ^= 1 << (bit & 7)
        self.assertRaises(vrf.Invalid, vrf.verify, KEY, data, bytes(proof))

    @settings(max_examples=20)
    @given(st.binary(max_size=20), st.binary(max_size=20))
    def test_one_input_only(self, data: bytes, other: bytes) -> None:
        if data != other:
            self.assertRaises(vrf.Invalid, vrf.verify, KEY, other, vrf.prove(SECRET, data))
            self.assertNotEqual(vrf.output(vrf.prove(SECRET, data)), vrf.output(vrf.prove(SECRET, other)))

    def test_one_key_only(self) -> None:
        other = vrf.public(b"\x07" * 32)
        self.assertRaises(vrf.Invalid, vrf.verify, other, b"data", vrf.prove(SECRET, b"data"))

    def test_points_of_small_order_prove_nothing(self) -> None:
        """With such a key, or such a point in the proof, one proof could hold for every input (RFC 9381 5.4.5, 7.1.1)."""
        proof = vrf.prove(SECRET, b"data")
        for each in SMALL:
            point = bytes.fromhex(each)
            self.assertRaises(vrf.Invalid, vrf.verify, point, b"data", proof)
            self.assertRaises(vrf.Invalid, vrf.verify, KEY, b"data", point + proof[32:])
            self.assertRaises(vrf.Invalid, vrf.output, point + proof[32:])

    def test_a_number_above_the_order_is_refused(self) -> None:
        """Else there would be a second spelling of each proof (RFC 9381 5.4.4 and 5.3)."""
        proof = vrf.prove(SECRET, b"data")
        larger = int.from_bytes(proof[48:], "little") + ORDER
        self.assertRaises(vrf.Invalid, vrf.verify, KEY, b"data", proof[:48] + larger.to_bytes(32, "little"))

    @given(st.binary(max_size=100), st.binary(max_size=100))
    def test_noise_is_refused(self, key: bytes, proof: bytes) -> None:
        self.assertRaises(vrf.Invalid, vrf.verify, key, b"data", proof)
        self.assertRaises(vrf.Invalid, vrf.verify, KEY, b"data", proof)
        self.assertRaises(vrf.Invalid, vrf.output, proof)

    def test_zeros_as_scalars_are_refused(self) -> None:
        proof = vrf.prove(SECRET, b"data")
        self.assertRaises(vrf.Invalid, vrf.verify, KEY, b"data", proof[:32] + bytes(48))
        self.assertRaises(vrf.Invalid, vrf.verify, KEY, b"data", proof[:32] + bytes(16) + proof[48:])
