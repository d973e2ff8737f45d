import os
from binascii import b2a_base64
from hashlib import sha256

from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_box_seal
from nacl.public import PrivateKey
from twisted.trial.unittest import TestCase

from mailx.identity import sealed_message, sealing
from mailx.identity.encoding import Malformed
from mailx.identity.seal_verdict import FAIL, NONE, PASS, PERMERROR, TEMPERROR, Believed, author_of, judged, trace
from mailx.identity.sealing import Altered, NotForUs, Opened, Sender, opened, padded, sealed
from mailx.identity.statements import SeedSigner
from mailx.identity.user_keys import Attestation, attested
from mailx.mail.address import Address

ANN = Address.parse("ann@example.test")
BOB = Address.parse("bob@peer.example")
DOMAIN_KEY = SeedSigner(bytes(range(32)))
ANN_KEY = SeedSigner(bytes(range(1, 33)))
MESSAGE = b"From: Ann <ann@example.test>\r\nTo: bob@peer.example\r\nSubject: Secret\r\n\r\nThe plan\r\n"


def keys(count: int = 1) -> list[PrivateKey]:
    return [PrivateKey.generate() for _ in range(count)]


def container(content: bytes, recipients: list[PrivateKey], sender: Sender | None = None, digest: bytes | None = None) -> bytes:
    pieces = [content[start : start + 65536] for start in range(0, len(content), 65536)]
    digest = sha256(content).digest() if digest is None else digest
    return b"".join(sealed([bytes(each.public_key) for each in recipients], pieces, len(content), digest, sender, 1_800_000_000))


def read(data: bytes, *privates: PrivateKey, step: int = 1 << 20) -> tuple[Opened, bytes]:
    found = opened([data[start : start + step] for start in range(0, len(data), step)], [bytes(each) for each in privates])
    return found, b"".join(found.pieces)


def user(holder: str = "client") -> Attestation:
    return attested(ANN, bytes(keys()[0].public_key), ANN_KEY.public, 1, 1_790_000_000, holder, DOMAIN_KEY)


class ContainerTests(TestCase):
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 200_000), st.integers(1, 5), st.sampled_from([7, 1000, 65553, 1 << 20]))
    @example(65536 * 2, 1, 65536)
    @example(0, 1, 1)
    def test_what_goes_in_comes_out(self, size: int, count: int, step: int) -> None:
        if size > 20_000 and step == 7:
            step = 1000
        content = os.urandom(size)
        recipients = keys(count)
        data = container(content, recipients)
        for recipient in recipients:
            found, text = read(data, *keys(), recipient, step=step)
            self.assertEqual((found.size, text), (size, content))

    def test_only_for_its_recipients(self) -> None:
        with self.assertRaises(NotForUs):
            read(container(MESSAGE, keys()), *keys(3))

    def test_no_size_tells_much(self) -> None:
        (key,) = keys()
        sizes = {len(container(os.urandom(size), [key])) for size in range(0, 4000, 50)}
        self.assertEqual(len(sizes), 1)
        self.assertLess(len({padded(size) for size in range(5_000_000, 10_000_000, 1009)}), 50)
        for size in (4097, 10_000, 1 << 20, 26_214_400):
            self.assertTrue(size <= padded(size) <= size * 1.13, size)

    def test_nor_how_many_they_are(self) -> None:
        self.assertEqual(len(container(MESSAGE, keys(3))), len(container(MESSAGE, keys(4))))
        with self.assertRaises(Malformed):
            container(MESSAGE, [])
        with self.assertRaises(Malformed):
            list(sealed([bytes(32)], [MESSAGE], len(MESSAGE), b"", None, 0))

    def test_every_octet_counts(self) -> None:
        (key,) = keys()
        data = container(MESSAGE, [key])
        for place in [*range(0, 118 + 30, 3), 200, len(data) - 1]:
            with self.assertRaises(Malformed, msg=str(place)):
                read(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], key)

    def test_nor_may_it_end_early_or_late(self) -> None:
        (key,) = keys()
        data = container(os.urandom(200_000), [key])
        for end in (0, 5, 37, 100, 70_000, 131_000, len(data) - 1):
            with self.assertRaises(Malformed, msg=str(end)):
                read(data[:end], key)
        with self.assertRaises(Malformed):
            read(data + b"x", key)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=400))
    def test_noise(self, noise: bytes) -> None:
        key = PrivateKey(bytes(range(32)))
        for data in (noise, b"MXS\1" + noise):
            with self.assertRaises(Malformed):
                read(data, key)

    def test_one_container_shows_one_content(self) -> None:
        """Boxes with different keys: the commitment holds for one of them."""
        ann, bob = keys(2)
        data = container(MESSAGE, [ann, bob])
        forged = crypto_box_seal(os.urandom(32), bytes(bob.public_key))
        for box in range(2):
            start = 38 + box * 80
            with self.assertRaises(Malformed):
                read(data[:start] + forged + data[start + 80 :], bob, ann)

    def test_a_size_that_was_wrong_is_noticed(self) -> None:
        (key,) = keys()
        for size in (len(MESSAGE) - 1, len(MESSAGE) + 1):
            with self.assertRaises(Malformed):
                list(sealed([bytes(key.public_key)], [MESSAGE], size, b"", None, 0))


class ProofTests(TestCase):
    def sender(self, attestation: Attestation | None, by: str = "client", address: Address = ANN, domain: str = "example.test") -> Sender:
        return Sender(address, domain, DOMAIN_KEY if attestation is None else ANN_KEY, attestation, by)

    def judge(self, sender: Sender | None, believed: Believed, head: bytes = MESSAGE, own: tuple[str, ...] = ()) -> tuple[str, str, bool]:
        (key,) = keys()
        found, _ = read(container(MESSAGE, [key], sender), key)
        verdict = judged(found, head, believed, own)
        return verdict.result, verdict.sealed, verdict.end_to_end

    def test_by_a_user(self) -> None:
        good = Believed(signers={ANN_KEY.public: "client"})
        self.assertEqual(self.judge(self.sender(user()), good), (PASS, "sender", True))
        self.assertEqual(self.judge(self.sender(user("server"), "server"), good), (PASS, "server", False))
        held = Believed(signers={ANN_KEY.public: "server"})
        self.assertEqual(self.judge(self.sender(user("client"), "client"), held), (PASS, "sender", False))

    def test_by_a_domain(self) -> None:
        good = Believed(keys=[DOMAIN_KEY.public])
        self.assertEqual(self.judge(self.sender(None, "server"), good), (PASS, "server", False))
        self.assertEqual(self.judge(self.sender(None, "client"), good), (PASS, "server", False))

    def test_on_arrival(self) -> None:
        stranger = self.sender(None, "server", BOB)
        head = MESSAGE.replace(b"ann@example.test", b"bob@peer.example")
        good = Believed(keys=[DOMAIN_KEY.public])
        self.assertEqual(self.judge(stranger, good, head, ("example.test",)), (NONE, "arrival", False))
        self.assertEqual(self.judge(stranger, good, head)[0], FAIL)

    def test_unknown(self) -> None:
        self.assertEqual(self.judge(None, Believed())[0], NONE)
        self.assertEqual(self.judge(self.sender(user()), Believed())[0], TEMPERROR)
        self.assertEqual(self.judge(self.sender(None), Believed(signers={ANN_KEY.public: "client"}))[0], TEMPERROR)

    def test_pretended(self) -> None:
        other = SeedSigner(os.urandom(32)).public
        self.assertEqual(self.judge(self.sender(user()), Believed(signers={other: "client"}))[0], FAIL)
        self.assertEqual(self.judge(self.sender(user()), Believed(signers={}))[0], FAIL)
        self.assertEqual(self.judge(self.sender(None), Believed(keys=[other]))[0], FAIL)
        good = Believed(signers={ANN_KEY.public: "client"})
        self.assertEqual(self.judge(self.sender(user()), good, MESSAGE.replace(b"ann@", b"boss@"))[0], FAIL)
        self.assertEqual(self.judge(self.sender(user(), address=Address.parse("boss@example.test")), good)[0], FAIL)
        self.assertEqual(self.judge(self.sender(user(), domain="other.example"), good)[0], FAIL)

    def test_sealed_on_for_somebody_else(self) -> None:
        """Who was sent a message cannot pass it on as if the sender had sealed it for the next one."""
        bob, eve = keys(2)
        first, _ = read(container(MESSAGE, [bob], self.sender(user())), bob)
        assert first.proof is not None
        proof = first.proof

        class Copied(Sender):
            def proof(self, content: bytes, boxes: bytes, now: int) -> sealing.Proof:
                return proof

        again, _ = read(container(MESSAGE, [eve], Copied(ANN, "example.test", ANN_KEY, user(), "client")), eve)
        self.assertEqual(judged(again, MESSAGE, Believed(signers={ANN_KEY.public: "client"}), ()).result, FAIL)

    def test_another_content_than_was_signed(self) -> None:
        (key,) = keys()
        data = container(MESSAGE, [key], self.sender(user()), sha256(b"another").digest())
        with self.assertRaises(Altered):
            read(data, key)

    def test_unreadable(self) -> None:
        (key,) = keys()

        class Strange:
            def encode(self) -> dict[str, int]:
                return {"statement": 5}

        class Odd(Sender):
            def proof(self, content: bytes, boxes: bytes, now: int) -> Strange:  # type: ignore[override]
                return Strange()

        found, text = read(container(MESSAGE, [key], Odd(ANN, "example.test", ANN_KEY, None, "client")), key)
        self.assertEqual(text, MESSAGE)
        self.assertEqual(judged(found, MESSAGE, Believed(), ()).result, PERMERROR)

    def test_the_field(self) -> None:
        (key,) = keys()
        found, _ = read(container(MESSAGE, [key], self.sender(user())), key)
        field = judged(found, MESSAGE, Believed(signers={ANN_KEY.public: "client"}), ()).field("mail.example.test")
        wanted = b"mailx-seal=pass header.from=ann@example.test policy.key=user policy.sealed=sender policy.end-to-end=yes\r\n"
        self.assertEqual(field, b"Authentication-Results: mail.example.test;\r\n\t" + wanted)


class AuthorTests(TestCase):
    def test_clear(self) -> None:
        self.assertEqual(author_of(MESSAGE), ANN)
        self.assertEqual(author_of(b'From:\r\n "A, B" <ann@example.test>\r\n\r\n'), ANN)

    def test_unclear(self) -> None:
        for head in (
            b"",
            b"Subject: x\r\n\r\nFrom: ann@example.test",
            MESSAGE.replace(b"To:", b"From:"),
            b"From: ann@example.test, bob@peer.example\r\n\r\n",
            b"From: <ann@example.test> <bob@peer.example>\r\n\r\n",
            b"From: nobody\r\n\r\n",
            b"From: a: ;\r\n\r\n",
        ):
            self.assertIsNone(author_of(head), head)

    def test_trace(self) -> None:
        above = b"Return-Path: <a@b.example>\r\nReceived: from x\r\n by y\r\nAuthentication-Results: h; none\r\n"
        fields = above + b"DKIM-Signature: v=1\r\nFrom: a@b.example\r\nReceived: forged\r\n"
        self.assertEqual(trace(fields), above)


class MessageTests(TestCase):
    def message(self, content: bytes, key: PrivateKey, *named: Address) -> bytes:
        return b"".join((sealed_message.head(ANN, named, 1_800_000_000), *sealed_message.encoded([container(content, [key])])))

    def test_round_trip(self) -> None:
        (key,) = keys()
        for size in (0, 100, 54_321, 200_001):
            content = os.urandom(size)
            whole = self.message(content, key, BOB)
            self.assertTrue(sealed_message.is_sealed(whole[:4096]))
            self.assertLessEqual(max(len(line) for line in whole.split(b"\r\n")), 78)
            for step in (100, 4097, len(whole)):
                pieces = [whole[start : start + step] for start in range(0, len(whole), step)]
                fields, data = sealed_message.split(pieces)
                self.assertIn(b"\r\nSubject: Sealed message\r\n", fields)
                self.assertEqual(read(b"".join(data), key)[1], content)

    def test_nothing_of_it_shows(self) -> None:
        (key,) = keys()
        whole = self.message(MESSAGE, key)
        self.assertIn(b"\r\nTo: undisclosed-recipients:;\r\n", whole)
        self.assertNotIn(b"Secret", whole)
        self.assertNotIn(b"bob@", whole)

    def test_what_is_none(self) -> None:
        (key,) = keys()
        whole = self.message(MESSAGE, key)
        for other in (
            MESSAGE,
            whole.replace(b"application/mailx-sealed", b"application/octet-stream"),
            whole.replace(b"application/mailx-sealed", b"application/mailx-sealed2"),
            whole.replace(b"base64", b"8bit"),
            whole.replace(b"Subject:", b"Content-Type: text/plain\r\nSubject:"),
        ):
            self.assertFalse(sealed_message.is_sealed(other))
            with self.assertRaises(Malformed):
                sealed_message.split([other])
        with self.assertRaises(Malformed):
            sealed_message.split([whole.replace(b"version=1", b"version=2")])
        with self.assertRaises(Malformed):
            sealed_message.split([])

    def test_noise_in_the_body(self) -> None:
        (key,) = keys()
        whole = self.message(MESSAGE, key)
        for other in (whole[:-40] + b"!!" + whole[-38:], whole + b"A", whole + b"\r\n-- \r\nA list\r\n"):
            _, data = sealed_message.split([other])
            with self.assertRaises(Malformed):
                read(b"".join(data), key)

    def test_nothing_behind_its_end(self) -> None:
        """One message has one container, in whatever pieces it comes."""
        (key,) = keys()
        data = container(MESSAGE, [key])
        body = b2a_base64(data[:1000]) + b2a_base64(data[1000:])
        self.assertIn(b"=", b2a_base64(data[:1000]))
        message = sealed_message.head(ANN, [], 1_800_000_000) + body.replace(b"\n", b"\r\n")
        for step in (1, 4, 100, len(message) - len(b2a_base64(data[1000:])), 1 << 20):
            pieces = [message[start : start + step] for start in range(0, len(message), step)]
            with self.assertRaises(Malformed, msg=str(step)):
                b"".join(sealed_message.split(pieces)[1])

    def test_other_line_ends_and_blank_lines_are_no_harm(self) -> None:
        (key,) = keys()
        whole = self.message(MESSAGE, key)
        for other in (whole.replace(b"\r\n", b"\n"), whole + b"\r\n\r\n"):
            _, data = sealed_message.split([other])
            self.assertEqual(read(b"".join(data), key)[1], MESSAGE)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=300))
    def test_any_octets(self, noise: bytes) -> None:
        for data in (noise, b"Content-Type: application/mailx-sealed; version=1\r\nContent-Transfer-Encoding: base64\r\n\r\n" + noise):
            sealed_message.is_sealed(data)
            author_of(data)
            try:
                _, pieces = sealed_message.split([data])
                b"".join(pieces)
            except Malformed:
                pass
