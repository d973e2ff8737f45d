"""The part tree: where parts begin and end, whatever the message looks like."""

from email.generator import BytesGenerator
from email.message import EmailMessage
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from io import BytesIO
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail import mime
from mailx.mail.mime import Part
from tests.mail import hostile
from tests.mail.against_stdlib import check_invariants, differences
from tests.mail.hostile import content_type

_MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def _bodies(content: bytes) -> list[bytes]:
    """The bodies of the leaf parts."""
    return [content[part.body_start : part.body_end] for part in mime.parse(content).walk() if not part.children and part.message is None]


class Boundaries(SynchronousTestCase):
    def test_line_end_before_a_delimiter_is_its_own(self) -> None:
        """RFC 2046 5.1.1."""
        self.assertEqual(_bodies(_MIXED + b"preamble\r\n--b\r\n\r\none\r\n\r\n--b\r\n\r\ntwo\r\n--b--\r\nepilogue"), [b"one\r\n", b"two"])

    def test_bare_line_feeds(self) -> None:
        self.assertEqual(_bodies((_MIXED + b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n").replace(b"\r\n", b"\n")), [b"one", b"two"])

    def test_what_only_begins_like_a_delimiter_is_text(self) -> None:
        self.assertEqual(
            _bodies(_MIXED + b"--b\r\n\r\none\r\n--bx\r\n--b--x\r\n --b\r\n--B\r\n--b--"), [b"one\r\n--bx\r\n--b--x\r\n --b\r\n--B"]
        )

    def test_blanks_after_a_delimiter(self) -> None:
        self.assertEqual(_bodies(_MIXED + b"--b \t\r\n\r\none\r\n--b-- \r\nepilogue"), [b"one"])

    def test_a_missing_end(self) -> None:
        self.assertEqual(_bodies(_MIXED + b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n"), [b"one", b"two\r\n"])
        self.assertEqual(_bodies(_MIXED + b"--b\r\n\r\none\r\n--b"), [b"one", b""])

    def test_an_inner_multipart_ends_with_the_outer(self) -> None:
        inner = _MIXED.replace(b"=b", b"=bb")
        self.assertEqual(_bodies(_MIXED + b"--b\r\n" + inner + b"--bb\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--"), [b"one", b"two"])

    def test_broken_multiparts_are_text(self) -> None:
        for content in (
            content_type(b"multipart/mixed"),
            content_type(b'multipart/mixed; boundary=""'),
            content_type(b"multipart/mixed; boundary=c"),
        ):
            part = mime.parse(content)
            self.assertEqual((part.type, part.subtype, part.children), (b"text", b"plain", ()))
            self.assertEqual(content[part.body_start : part.body_end], b"--b\r\n\r\none\r\n--b--\r\n")

    def test_digest(self) -> None:
        """RFC 2046 5.1.5: the parts of a digest are messages unless they say otherwise."""
        part = mime.parse(
            content_type(
                b"multipart/digest; boundary=b", b"--b\r\n\r\nSubject: in\r\n\r\ntext\r\n--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b--"
            )
        )
        message, page = part.children
        assert message.message is not None
        self.assertEqual(message.message.named[b"subject"].strip(), b"in")
        self.assertEqual(page.subtype, b"html")


class Headers(SynchronousTestCase):
    def test_header_ends_at_the_empty_line(self) -> None:
        for content, body in (
            (b"A: b\r\n\r\ntext", b"text"),
            (b"A: b\n\ntext", b"text"),
            (b"A: b\n\r\ntext", b"text"),
            (b"\r\ntext", b"text"),
            (b"\ntext", b"text"),
        ):
            part = mime.parse(content)
            self.assertEqual(content[part.body_start : part.body_end], body, content)

    def test_without_an_empty_line_text_is_not_hidden(self) -> None:
        content = b"A: b\r\n c\r\nD: e\r\nhello there\r\nF: g\r\n"
        part = mime.parse(content)
        self.assertEqual(content[part.body_start :], b"hello there\r\nF: g\r\n")
        self.assertEqual([name for _, name, _ in part.fields], [b"A", b"D"])
        self.assertEqual(mime.parse(b"A: b\r\nC: d").body_start, 10)
        self.assertEqual(mime.parse(b"text").body_start, 0)

    def test_described_parts(self) -> None:
        part = mime.parse(
            b'Content-Disposition: attachment; filename="=?utf-8?q?=C3=A4?="\r\n'
            b"Content-ID: <a>\r\nContent-Type: text/x; charset=UTF-8\r\n\r\n"
        )
        self.assertEqual((part.filename, part.id, part.charset, part.mime_type), ("ä", b"<a>", "UTF-8", "text/x"))


class Limits(SynchronousTestCase):
    def test_depth(self) -> None:
        for content in (hostile.nested_multiparts(3000), hostile.nested_messages(3000)):
            deepest = list(mime.parse(content).walk())
            self.assertEqual(len(deepest), mime.DEPTH_LIMIT + 1)
            self.assertEqual(deepest[-1].mime_type, "application/octet-stream")

    def test_parts(self) -> None:
        self.assertEqual(len(list(mime.parse(hostile.many_parts(11000)).walk())), mime.PARTS_LIMIT)

    def test_work(self) -> None:
        """Depth times size is bounded: a long message may not be deep as well."""
        self.patch(mime, "_WORK_FREE", 0)
        levels = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(50))
        content = levels + b"\r\n" + b"x" * 100000
        self.assertLess(len(list(mime.parse(content).walk())), 20)

    def test_work_of_false_delimiters_and_fields(self) -> None:
        """Lines that only look like delimiters, and fields, count for more than their octets."""
        self.patch(mime, "_WORK_FREE", 0)
        false = _MIXED + b"--b\r\n\r\none\r\n" + b"--bx\r\n" * 10000 + b"--b\r\n\r\ntwo\r\n--b--\r\n"
        self.assertEqual(len(mime.parse(false).children), 1)
        fields = _MIXED + (b"--b\r\n" + b"X:\r\n" * 900 + b"\r\n") * 50 + b"--b--"
        self.assertLess(len(mime.parse(fields).children), 50)

    def test_opaque(self) -> None:
        part = mime.parse(_MIXED + b"--b\r\n\r\none\r\n--b--", opaque=True)
        self.assertEqual((part.mime_type, part.children), ("application/octet-stream", ()))


class Hostile(SynchronousTestCase):
    """Every hostile message: nothing raises, all offsets hold, all IMAP text is valid."""


def _hostile_test(content: bytes) -> object:
    def test(self: SynchronousTestCase) -> None:
        check_invariants(content)

    return test


for _name, _content in hostile.messages():
    setattr(Hostile, "test_" + "".join(c if c.isalnum() else "_" for c in _name), _hostile_test(_content))


_LINES = st.lists(st.text("abc -=.:\xe4", max_size=30), max_size=4).map("\r\n".join)
_LEAVES = st.builds(
    lambda kind, text: (kind, text),
    st.sampled_from(["text/plain", "text/html", "image/png", "application/x-thing"]),
    _LINES,
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["mixed", "alternative", "digest"]), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("message"), inner),
    ),
    max_leaves=12,
)


def _built(tree: Any, counter: list[int]) -> MIMEBase:
    """The tree as a message of the standard library."""
    kind, below = tree
    counter[0] += 1
    if isinstance(below, list):
        part: MIMEBase = MIMEMultipart(kind, boundary=f"=_{counter[0]}")
        for inner in below:
            part.attach(_built(inner, counter))
        return part
    if kind == "message":
        inner_message = _built(below, counter)
        inner_message["Subject"] = "inner"
        return MIMEMessage(inner_message)
    main, _, sub = kind.partition("/")
    part = MIMENonMultipart(main, sub)
    part.set_payload(below.encode().decode("ascii", "surrogateescape"))
    return part


def _shape(part: Part) -> object:
    if part.message is not None:
        return "message", _shape(part.message)
    if part.type == b"multipart":
        return part.subtype.decode(), [_shape(child) for child in part.children]
    return part.mime_type


def _expected(tree: Any) -> object:
    kind, below = tree
    if isinstance(below, list):
        return kind, [_expected(inner) for inner in below]
    if kind == "message":
        return "message", _expected(below)
    return kind


class Properties(SynchronousTestCase):
    @given(_TREES)
    @settings(deadline=None)
    def test_what_is_written_is_read(self, tree: Any) -> None:
        """Any tree that the standard library writes comes back as it was, and its parser agrees on every octet."""
        output = BytesIO()
        BytesGenerator(output, mangle_from_=False, maxheaderlen=0).flatten(_built(tree, [0]), linesep="\r\n")
        content = output.getvalue()
        self.assertEqual(_shape(mime.parse(content)), _expected(tree))
        self.assertEqual(differences(content), [])
        check_invariants(content)

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"\r\n",
                    b"\r\n\r\n",
                    b"\n",
                    b"--b",
                    b"--b--",
                    b"--c",
                    b"--c--",
                    b"Content-Type: multipart/mixed; boundary=b\r\n",
                    b"Content-Type: multipart/digest; boundary=c\r\n",
                ]
                + [
                    b"Content-Type: message/rfc822\r\n",
                    b"Content-Type: text/html; charset=x",
                    b"text",
                    b" ",
                    b"To: a, b:c;\r\n",
                    b"\xff",
                    b"\0",
                    b"Subject: =?utf-8?q?x?=\r\n",
                ]
            ),
            max_size=40,
        )
    )
    @settings(deadline=None, max_examples=300)
    def test_any_fragments(self, pieces: list[bytes]) -> None:
        check_invariants(b"".join(pieces))

    @given(
        st.lists(
            st.sampled_from(
                [b"--b\r\n", b"--b--\r\n", b"--bb\r\n", b"--bb--\r\n", b"\r\n", b"text\r\n", _MIXED, _MIXED.replace(b"=b", b"=bb")]
            ),
            max_size=25,
        )
    )
    @settings(deadline=None, max_examples=300)
    def test_multiparts_like_the_standard_library(self, pieces: list[bytes]) -> None:
        unexplained = [what for reason, what in differences(_MIXED + b"".join(pieces)) if not reason]
        self.assertEqual(unexplained, [])

    @given(st.binary(max_size=500))
    @settings(deadline=None)
    def test_any_octets(self, content: bytes) -> None:
        check_invariants(content)
        check_invariants(_MIXED + content)

    def test_a_message_of_the_modern_api(self) -> None:
        message = EmailMessage()
        message["From"] = "Ann <ann@example.org>"
        message["Subject"] = "Grüße"
        message.set_content("plain text\n")
        message.add_alternative("<p>page</p>", subtype="html")
        message.add_attachment(b"\0\1\2" * 1000, maintype="image", subtype="png", filename="ä.png")
        content = message.as_bytes().replace(b"\n", b"\r\n")
        self.assertEqual(differences(content), [])
        root = mime.parse(content)
        self.assertEqual(_shape(root), ("mixed", [("alternative", ["text/plain", "text/html"]), "image/png"]))
        self.assertEqual(root.children[1].filename, "ä.png")
