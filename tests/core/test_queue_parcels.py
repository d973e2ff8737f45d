"""What the queue keeps sealed comes back as it was, or not at all."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.core.courier import Attempt
from mailx.core.parcels import Consignee, Parcels, Past, new_guid
from mailx.mail.address import Address
from mailx.mail.envelope import WISHES_NOTHING, Demands, Envelope, Forwarding, Origin, Wish
from mailx.mail.message import Message
from mailx.mail.reply import Reply
from mailx.store.cipher import Cipher, CipherError, Keys
from mailx.store.queue import Claimed

CIPHER = Cipher(Keys({1: b"k" * 32}, 1, b"l" * 32))
PARCELS = Parcels(CIPHER)
GUID = b"g" * 16
BODY = Message(b"body", 4)

texts = st.text(max_size=80)
addresses = st.builds(Address, texts, texts)
wishes = st.builds(Wish, st.integers(0, 15), texts)
envelopes = st.builds(
    Envelope,
    st.just("id"),
    st.none() | addresses,
    st.just(()),
    st.builds(Message, st.just(b"body"), st.just(4), st.booleans()),
    st.builds(Origin, texts, texts, account=st.none() | st.integers(1, 9)),
    demands=st.builds(Demands, st.booleans(), st.booleans(), texts, texts),
    forwarding=st.none() | st.builds(Forwarding, texts, texts),
)
attempts = st.builds(Attempt, st.builds(Reply, st.integers(200, 599), texts, texts), texts, texts, texts)


def row(envelope: Envelope, details: bytes) -> Claimed:
    return Claimed(1, 2, b"d", b"r", 0, 0, b"", b"", envelope.id, GUID, details, envelope.origin.account, 4, 0)


class Seals(SynchronousTestCase):
    """There and back."""

    @given(envelopes)
    def test_envelope(self, envelope: Envelope) -> None:
        self.assertEqual(PARCELS.open_envelope(row(envelope, PARCELS.seal_details(GUID, envelope)), BODY), envelope)

    @given(addresses, addresses, wishes)
    def test_recipient(self, address: Address, original: Address, wish: Wish) -> None:
        sealed = PARCELS.seal_recipient(GUID, address, original, wish)
        self.assertEqual(PARCELS.open_recipient(GUID, sealed), Consignee(address, original, wish))

    def test_recipient_without_wishes(self) -> None:
        address = Address("you", "example.org")
        for same in (address, Address("you", "example.org")):
            sealed = PARCELS.seal_recipient(GUID, address, same, WISHES_NOTHING)
            self.assertEqual(PARCELS.open_recipient(GUID, sealed), Consignee(address, address, WISHES_NOTHING))

    @given(st.lists(st.builds(Past, st.integers(0, 2**40), attempts), max_size=12))
    def test_history(self, history: list[Past]) -> None:
        self.assertEqual(PARCELS.open_history(GUID, PARCELS.seal_history(GUID, history)), history)

    @given(st.builds(Past, st.integers(0, 2**40), attempts))
    def test_word(self, past: Past) -> None:
        self.assertEqual(PARCELS.open_word(b"d", PARCELS.seal_word(b"d", past)), past)

    def test_history_is_bounded(self) -> None:
        history = [Past(number, Attempt(Reply(451, "4.0.0", "x" * 5000))) for number in range(100)]
        kept = PARCELS.open_history(GUID, PARCELS.seal_history(GUID, history))
        self.assertEqual([past.time for past in kept], [0, 1, *range(90, 100)])
        self.assertLess(len(PARCELS.seal_history(GUID, history)), 8000)

    def test_text_that_is_no_text(self) -> None:
        past = Past(1, Attempt(Reply(451, "4.0.0", "\udcff\0"), "h\udc80"))
        self.assertEqual(PARCELS.open_history(GUID, PARCELS.seal_history(GUID, [past]))[0].attempt.reply.text, "?\0")

    def test_nothing(self) -> None:
        self.assertEqual(PARCELS.open_history(GUID, b""), [])
        self.assertIsNone(PARCELS.open_word(b"d", b""))

    def test_guids_differ(self) -> None:
        self.assertEqual(len({new_guid() for _ in range(1000)}), 1000)


class Damage(SynchronousTestCase):
    """Nothing else than CipherError comes of it."""

    @given(st.sampled_from((b"[]", b"{}", b"0", b"null", b'["a"]', b"[1,2,3,4,5,6,7]", b'[["a"],1,2,3,4,5]', b"not json", b"\xff")))
    def test_another_shape(self, plain: bytes) -> None:
        envelope = Envelope("id", None, (), BODY, Origin("ESMTP", "c"))
        with self.assertRaises(CipherError):
            PARCELS.open_envelope(row(envelope, CIPHER.seal(b"dispatch", GUID, plain)), BODY)
        if plain != b"[]":
            with self.assertRaises(CipherError):
                PARCELS.open_history(GUID, CIPHER.seal(b"history", GUID, plain if plain != b"{}" else b"[{}]"))
        with self.assertRaises(CipherError):
            PARCELS.open_word(b"d", CIPHER.seal(b"word", b"d", plain if plain[:5] != b"[1,2," else b"[1]"))

    def test_moved(self) -> None:
        address = Address("you", "example.org")
        sealed = PARCELS.seal_recipient(GUID, address, address, WISHES_NOTHING)
        for guid, value in ((b"h" * 16, sealed), (GUID, sealed[:-1]), (GUID, b"")):
            with self.assertRaises(CipherError):
                PARCELS.open_recipient(guid, value)
