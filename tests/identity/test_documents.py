"""The document of a server, its record, attestations of users, recovery keys on paper, backups."""

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.identity import key_backup, passphrase_file, recovery_keys
from mailx.identity.documents import (
    DOCUMENT_LIMIT,
    VALID_SECONDS,
    Record,
    ServerDocument,
    is_record,
    parse_record,
    record_text,
    server_from_text,
    server_text,
)
from mailx.identity.domain_keys import first, rotated
from mailx.identity.encoding import Malformed, canonical, parse
from mailx.identity.key_backup import SavedKeys
from mailx.identity.statements import signed
from tests.identity.signers import signer

NOW = 1_800_000_000
K1, K2, R = signer("one"), signer("two"), signer("recovery")
FIRST = first("example.org", R.public, NOW - 100, K1)
SECOND = rotated(FIRST, K1, K2, NOW - 50)
DOCUMENT = ServerDocument(
    "example.org",
    (("mx.example.org", 2590), ("2001:db8::1", 2591)),
    K2.public,
    (FIRST, SECOND),
    R.public,
    frozenset({"seal", "log"}),
    39321600,
    NOW,
    NOW + VALID_SECONDS,
    {"vrf": "x"},
)


class Documents(SynchronousTestCase):
    def test_one_comes_back(self) -> None:
        octets = canonical(DOCUMENT.signed(K2).encode())
        read = ServerDocument.parse(octets, "example.org", NOW)
        self.assertEqual(read, DOCUMENT)
        self.assertEqual(read.encoded, octets)

    def test_a_wrong_one_is_refused_with_a_reason(self) -> None:
        for changed, by, now, reason in (
            (evolve(DOCUMENT, domain="example.com"), K2, NOW, "another domain"),
            (DOCUMENT, K1, NOW, "did not sign"),
            (DOCUMENT, K2, NOW + VALID_SECONDS, "expired"),
            (DOCUMENT, K2, NOW - 301, "future"),
            (evolve(DOCUMENT, expires=NOW + 400 * 86400), K2, NOW, "longer than"),
            (evolve(DOCUMENT, key=K1.public), K1, NOW, "another key"),
            (evolve(DOCUMENT, recovery=K1.public), K2, NOW, "another key"),
            (evolve(DOCUMENT, history=()), K2, NOW, "keys"),
            (evolve(DOCUMENT, history=(SECOND, FIRST)), K2, NOW, "announced"),
            (evolve(DOCUMENT, servers=(("mx", 1),) * 9), K2, NOW, "servers"),
            (evolve(DOCUMENT, servers=(("mx example", 1),)), K2, NOW, "HOST:PORT"),
            (evolve(DOCUMENT, capabilities=frozenset({"Not A Word"})), K2, NOW, "word"),
            (evolve(DOCUMENT, message_size=-1), K2, NOW, "message_size"),
        ):
            with self.assertRaises(Malformed) as caught:
                ServerDocument.parse(canonical(changed.signed(by).encode()), "example.org", now)
            self.assertIn(reason, str(caught.exception))

    def test_one_of_another_kind_or_without_end_is_refused(self) -> None:
        other = signed("user-key", DOCUMENT.signed(K2).body, K2)
        for octets in (canonical(other.encode()), b" " * (DOCUMENT_LIMIT + 1), b"[]", b"", b"null"):
            with self.assertRaises(Malformed):
                ServerDocument.parse(octets, "example.org", NOW)

    @given(
        st.sampled_from(sorted(DOCUMENT.signed(K2).body)),
        st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4),
    )
    def test_any_other_member_is_refused_or_read(self, name: str, value: object) -> None:
        body = {**DOCUMENT.signed(K2).body, name: value}
        try:
            ServerDocument.of(signed("server", body, K2), "example.org", NOW)  # type: ignore[arg-type]
        except Malformed:
            pass


class Records(SynchronousTestCase):
    def test_a_record_comes_back(self) -> None:
        text = record_text(DOCUMENT.key, DOCUMENT.servers)
        self.assertEqual(parse_record(text), Record(K2.public, DOCUMENT.servers))
        self.assertLess(len(text), 256)

    def test_order_spaces_and_new_fields_do_not_matter(self) -> None:
        key = record_text(DOCUMENT.key, DOCUMENT.servers).split("key=")[1].split(";")[0]
        text = f" V=MAILX1 ; later=x ;servers=mx.example.org:2590 ;key={key};"
        self.assertEqual(parse_record(text), Record(K2.public, (("mx.example.org", 2590),)))

    def test_others_and_broken_ones_are_refused(self) -> None:
        good = record_text(DOCUMENT.key, DOCUMENT.servers)
        self.assertFalse(is_record("v=spf1 -all"))
        for bad in (
            "",
            "v=spf1 -all",
            "v=mailx1",
            "v=mailx2; x",
            good + "; key=x",
            good.replace("ed25519", "rsa"),
            good + ";x",
            good + " " * 1024,
        ):
            with self.assertRaises(Malformed):
                parse_record(bad)

    @given(st.text(max_size=80))
    def test_any_text_is_a_record_or_refused(self, text: str) -> None:
        try:
            parse_record("v=mailx1; " + text)
        except Malformed:
            pass

    def test_servers(self) -> None:
        for host, port in (("mx.example.org", 1), ("192.0.2.1", 65535), ("2001:db8::1", 2590)):
            self.assertEqual(server_from_text(server_text(host, port)), (host, port))
        for bad in ("mx", "mx:0", "mx:65536", "mx:-1", "mx:²", ":1", "m x:1", "MX:1", "[x]:1", "a" * 300 + ":1", None, 5):
            with self.assertRaises(Malformed):
                server_from_text(bad)


class OnPaper(SynchronousTestCase):
    @given(st.binary(min_size=32, max_size=32))
    def test_a_recovery_key_comes_back_however_it_is_typed(self, seed: bytes) -> None:
        text = recovery_keys.write(seed)
        public = recovery_keys.read(text).public
        for typed in (text.lower(), text.replace("-", " - "), f"\n {text[:40]}\n{text[40:]} "):
            self.assertEqual(recovery_keys.read(typed).public, public)

    def test_a_mistyped_one_is_noticed_and_not_quoted(self) -> None:
        text = recovery_keys.write(bytes(range(32)))
        wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
        for typed in (wrong, text[:-1], text + "A", text.replace("mailx", "mail"), "", "mailx-recovery-1", "é" * 50, text * 20):
            with self.assertRaises(Malformed) as caught:
                recovery_keys.read(typed)
            self.assertNotIn(text[-9:-1], str(caught.exception))

    def test_each_is_another(self) -> None:
        self.assertNotEqual(recovery_keys.generate(), recovery_keys.generate())


class Backups(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(passphrase_file, "_PASSES", 1)
        self.patch(passphrase_file, "_MEMORY", 8192)
        seed = bytes(range(32))
        own = key_backup.SeedSigner(seed)
        key = first("example.org", R.public, NOW, own)
        self.saved = SavedKeys("example.org", (key,), {own.public: seed}, b"l" * 32)
        self.seed = seed

    def test_what_was_saved_comes_back_and_nothing_of_it_is_seen(self) -> None:
        file = key_backup.seal([self.saved], "correct horse", NOW)
        self.assertEqual(key_backup.open_file(file, "correct horse"), (self.saved,))
        self.assertNotIn(b"example.org", file)
        self.assertNotIn(self.seed.hex(), repr(self.saved))

    def test_another_passphrase_or_a_changed_file_opens_nothing(self) -> None:
        file = key_backup.seal([self.saved], "correct horse", NOW)
        with self.assertRaises(Malformed):
            key_backup.open_file(file, "correct house")
        for old, new in (
            (b'"made":1', b'"made":2'),
            (b'"passes":1', b'"passes":2'),
            (b'"format":"mailx-keys-1"', b'"format":"mailx-keys-2"'),
        ):
            with self.assertRaises(Malformed):
                key_backup.open_file(file.replace(old, new), "correct horse")

    def test_a_file_that_asks_for_all_memory_is_refused(self) -> None:
        file = dict(parse(key_backup.seal([self.saved], "correct horse", NOW)))  # type: ignore[call-overload]
        for change in ({"passes": 10**6}, {"memory": 1 << 40}, {"name": "scrypt"}, {"salt": "AA"}):
            with self.assertRaises(Malformed):
                key_backup.open_file(canonical({**file, "kdf": {**file["kdf"], **change}}), "correct horse")

    def test_a_short_passphrase_is_refused(self) -> None:
        with self.assertRaises(Malformed):
            key_backup.seal([self.saved], "short", NOW)

    def test_keys_that_do_not_fit_are_refused(self) -> None:
        for wrong in (
            evolve(self.saved, seeds={}),
            evolve(self.saved, seeds={self.saved.history[0].key: bytes(32)}),
            evolve(self.saved, domain="example.com"),
            evolve(self.saved, history=()),
            evolve(self.saved, history=self.saved.history * 2),
        ):
            with self.assertRaises(Malformed):
                key_backup.open_file(key_backup.seal([wrong], "correct horse", NOW), "correct horse")
