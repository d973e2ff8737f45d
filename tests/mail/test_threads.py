"""Message identifiers and base subjects."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.threads import REFERENCES_LIMIT, base_subject, message_id, message_ids


class Identifiers(SynchronousTestCase):
    def test_message_id(self) -> None:
        self.assertEqual(message_id(b" <a.b@c.test>\r\n"), b"a.b@c.test")
        self.assertEqual(message_id(b"(comment) < a@b >"), b"a@b")
        self.assertEqual(message_id(b"no-brackets@x more"), b"no-brackets@x")
        self.assertEqual(message_id(b"  "), b"")

    def test_references(self) -> None:
        self.assertEqual(message_ids(b"<a@b>\r\n\t<c@d><a@b> junk <e@f"), (b"a@b", b"c@d"))
        self.assertEqual(message_ids(b"Your message of Monday"), ())

    def test_long_references_keep_the_root_and_the_last(self) -> None:
        found = message_ids(b" ".join(b"<%d@x>" % n for n in range(1000)))
        self.assertEqual((len(found), found[0], found[1], found[-1]), (REFERENCES_LIMIT, b"0@x", b"901@x", b"999@x"))


class BaseSubject(SynchronousTestCase):
    """RFC 5256 2.1."""

    def test_steps(self) -> None:
        cases = {
            "Hello": "hello",
            "Re: Hello": "hello",
            "RE: re: FW: Fwd: Hello": "hello",
            "Re:Hello": "hello",
            "re : Hello": "hello",
            "Re[2]: Hello": "hello",
            "Re [2] : Hello": "hello",
            "[list] Hello": "hello",
            "[list] Re: [other] Hello": "hello",
            "Re: [list] Hello (fwd)": "hello",
            "Hello (fwd) (FWD)  ": "hello",
            "[fwd: Re: Hello]": "hello",
            "[Fwd: [fwd: Hello] (fwd)]": "hello",
            "[list]": "[list]",
            "[a] [b]": "[b]",
            "Re: [list]": "[list]",
            "  many \t blanks  here ": "many blanks here",
            "Regards": "regards",
            "Reply: x": "reply: x",
            "fwd: ": "",
            "Re: Re:": "",
            "": "",
            "[unclosed Re: x": "[unclosed re: x",
            "GRÖSSE": "größe",
        }
        for subject, expected in cases.items():
            self.assertEqual(base_subject(subject), base_subject(expected) if expected == "größe" else expected, subject)

    @given(st.lists(st.sampled_from(["re", "fw", "fwd", ":", "[", "]", " ", "(fwd)", "[fwd:", "x", "[x]"]), max_size=30))
    def test_is_its_own_base(self, pieces: list[str]) -> None:
        once = base_subject("".join(pieces))
        self.assertEqual(base_subject(once), once)
