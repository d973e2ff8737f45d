"""SCRAM-SHA-256: the RFC's own exchange, what must fail, and a client made here that agrees with the server."""

import hashlib
import hmac
from base64 import b64decode, b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core import scram
from mailx.core.scram import Keys, Malformed, Unacceptable, derive, parse_first, server_first, verify_final

# RFC 7677 3: user "user", password "pencil"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCE = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
ANSWER = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def client_final(password: bytes, first: bytes, challenge: bytes, binding: bytes = b"") -> tuple[bytes, bytes]:
    """What an honest client sends, and the server-final-message it expects (RFC 5802 3)."""
    fields = dict(part.split(b"=", 1) for part in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, b64decode(fields[b"s"]), int(fields[b"i"]))
    header, bare = first[: first.index(b",", first.index(b",") + 1) + 1], first[first.index(b",", first.index(b",") + 1) + 1 :]
    without = b"c=" + b64encode(header + binding) + b",r=" + fields[b"r"]
    message = b",".join((bare, challenge, without))
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    answer = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
    return without + b",p=" + b64encode(proof), b"v=" + b64encode(answer)


class Vectors(SynchronousTestCase):
    def test_rfc7677(self) -> None:
        keys = derive(b"pencil", SALT, 4096)
        first = parse_first(FIRST, False, {})
        self.assertEqual((first.name, first.nonce, first.binding, first.authzid), ("user", b"rOprNGfwEbeRWgbNEkqO", "", ""))
        self.assertEqual(server_first(NONCE, keys), CHALLENGE)
        self.assertEqual(verify_final(FINAL, first, CHALLENGE, NONCE, b"", keys), ANSWER)

    def test_client_of_these_tests(self) -> None:
        self.assertEqual(client_final(b"pencil", FIRST, CHALLENGE), (FINAL, ANSWER))


class Refusals(SynchronousTestCase):
    keys: Keys = derive(b"pencil", SALT, 4096)

    def final(self, message: bytes) -> bytes | None:
        return verify_final(message, parse_first(FIRST, False, {}), CHALLENGE, NONCE, b"", self.keys)

    def test_wrong_password(self) -> None:
        self.assertIsNone(self.final(client_final(b"pen", FIRST, CHALLENGE)[0]))

    def test_wrong_nonce(self) -> None:
        self.assertIsNone(self.final(client_final(b"pencil", FIRST, CHALLENGE.replace(b"k0,", b"k1,"))[0]))

    def test_wrong_header(self) -> None:
        self.assertIsNone(self.final(client_final(b"pencil", b"y" + FIRST[1:], CHALLENGE)[0]))

    def test_malformed_final(self) -> None:
        for message in (
            b"",
            b"c=biws",
            FINAL[:-1],
            FINAL.replace(b",p=", b",p=!"),
            FINAL + b",x=y",
            FINAL.replace(b"c=biws", b"c=biw"),
            FINAL[: FINAL.index(b",p=")] + b",p=AAAA",
            b"p=AAAA," + FINAL,
        ):
            self.assertRaises(Malformed, self.final, message)

    def test_malformed_first(self) -> None:
        for message in (
            b"",
            b"n,,",
            b"n,,n=,r=abc",
            b"n,,n=user",
            b"n,,n=user,r=",
            b"n,,n=us\x00er,r=abc",
            b"n,,n=us=er,r=abc",
            b"n,,n=us=2c,r=abc",
            b"n,,n=\xff,r=abc",
            b"n,,r=abc,n=user",
            b"x,,n=user,r=abc",
            b"n,n=user,r=abc",
            b"n,,n=user,r=a b",
            b"n,,n=user,r=abc\r\n",
        ):
            self.assertRaises(Malformed, parse_first, message, False, {})

    def test_names_are_unescaped(self) -> None:
        first = parse_first("n,a=b=3Dc,n=m=2Cü=3D,r=abc,x=later".encode(), False, {})
        self.assertEqual((first.name, first.authzid, first.header), ("m,ü=", "b=c", b"n,a=b=3Dc,"))

    def test_unknown_mandatory_extension(self) -> None:
        self.assertRaises(Unacceptable, parse_first, b"n,,m=x,n=user,r=abc", False, {})

    def test_downgrade(self) -> None:
        bindings = {"tls-exporter": b"x" * 32}
        self.assertRaises(Unacceptable, parse_first, b"y,,n=user,r=abc", False, bindings)
        self.assertEqual(parse_first(b"y,,n=user,r=abc", False, {}).header, b"y,,", "without TLS there is nothing to bind to")
        self.assertEqual(parse_first(b"n,,n=user,r=abc", False, bindings).binding, "")

    def test_mechanism_and_flag_agree(self) -> None:
        bindings = {"tls-exporter": b"x" * 32}
        self.assertRaises(Unacceptable, parse_first, b"p=tls-exporter,,n=user,r=abc", False, bindings)
        self.assertRaises(Unacceptable, parse_first, b"n,,n=user,r=abc", True, bindings)
        self.assertRaises(Unacceptable, parse_first, b"p=tls-unique,,n=user,r=abc", True, bindings)

    def test_binding_to_another_channel(self) -> None:
        message = b"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO"
        first = parse_first(message, True, {"tls-exporter": b"here"})
        final, answer = client_final(b"pencil", message, CHALLENGE, b"here")
        self.assertEqual(verify_final(final, first, CHALLENGE, NONCE, b"here", self.keys), answer)
        self.assertIsNone(verify_final(final, first, CHALLENGE, NONCE, b"there", self.keys), "somebody sits between")

    @given(st.binary(max_size=200))
    def test_no_other_exception(self, message: bytes) -> None:
        try:
            scram.parse_first(message, False, {})
        except (Malformed, Unacceptable):
            pass
        try:
            self.final(message)
        except Malformed:
            pass

    def test_hostile_first_takes_linear_time(self) -> None:
        self.assertRaises(Malformed, parse_first, b"n,,n=a,r=b" + b",x=y" * 100_000 + b",", False, {})
