"""Messages that try to break a parser: broken, ambiguous and expensive ones, each made by a line or two of code.

``messages()`` gives them all by name. They are small enough to run in the unit tests, large enough that anything
quadratic shows.
"""

from base64 import b64encode
from collections.abc import Iterator

HEAD = (
    b"From: Ann <ann@example.org>\r\nTo: bob@example.test\r\nSubject: hostile\r\n"
    b"Date: Mon, 6 Jan 2025 10:00:00 +0100\r\nMIME-Version: 1.0\r\n"
)
_B = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


def nested_multiparts(depth: int) -> bytes:
    """``depth`` multiparts inside each other, none of them closed, a text in the innermost."""
    levels = [b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(depth)]
    return HEAD + b"".join(levels) + b"\r\ninnermost\r\n"


def nested_messages(depth: int) -> bytes:
    return HEAD + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: innermost\r\n\r\ntext\r\n"


def many_parts(count: int) -> bytes:
    return HEAD + _B + b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    """A message with one more field."""
    return HEAD + name + b": " + value + b"\r\n\r\ntext\r\n"


def content_type(value: bytes, body: bytes = b"--b\r\n\r\none\r\n--b--\r\n") -> bytes:
    return HEAD + b"Content-Type: " + value + b"\r\n\r\n" + body


def messages() -> Iterator[tuple[str, bytes]]:
    yield from _fragments()
    yield from _boundaries()
    yield from _bombs()
    yield from _fields()
    yield from _addresses()
    yield from _texts()


def _fragments() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "one-crlf", b"\r\n"
    yield "one-lf", b"\n"
    yield "one-cr", b"\r"
    yield "one-octet", b"x"
    yield "nul", b"\0"
    yield "only-a-header", HEAD
    yield "header-cut-in-name", HEAD + b"Conte"
    yield "header-cut-in-value", HEAD + b"Content-Type: multi"
    yield "no-header", b"\r\njust text\r\n"
    yield "no-header-no-blank", b"just text\r\nand more\r\n"
    yield "bare-lf", HEAD.replace(b"\r\n", b"\n") + _B.replace(b"\r\n", b"\n") + b"--b\n\none\n--b\n\ntwo\n--b--\n"
    yield "mixed-line-ends", HEAD + b"Content-Type: multipart/mixed; boundary=b\n\r\n--b\r\n\none\n--b\n\r\ntwo\r\n--b--\n"
    yield "cr-only", (HEAD + _B + b"--b\r\n\r\none\r\n--b--\r\n").replace(b"\r\n", b"\r")
    yield "cr-cr-lf", (HEAD + _B + b"--b\r\n\r\none\r\n--b--\r\n").replace(b"\r\n", b"\r\r\n")
    yield "mbox-from-line", b"From ann@example.org Mon Jan  6 10:00:00 2025\r\n" + HEAD + b"\r\ntext\r\n"
    yield "escaped-from-line", b">From ann@example.org Mon Jan  6 10:00:00 2025\r\n" + HEAD + b"\r\ntext\r\n"
    yield "starts-with-continuation", b" folded\r\n" + HEAD + b"\r\ntext\r\n"
    yield "blank-line-of-spaces", HEAD + b"   \r\nX: y\r\n\r\ntext\r\n"
    yield "every-octet", HEAD + b"X-All: " + bytes(range(256)) + b"\r\n\r\n" + bytes(range(256))
    yield "nul-everywhere", HEAD.replace(b"a", b"a\0") + b"Subject: a\0b\r\n\r\n\0\r\n"
    yield "no-colon-lines", HEAD + b"this is no field\r\nX: y\r\n\r\ntext\r\n"
    yield "garbage", bytes((n * 7919 + n // 3) % 256 for n in range(20000))


def _boundaries() -> Iterator[tuple[str, bytes]]:
    yield "no-boundary", content_type(b"multipart/mixed")
    yield "empty-boundary", content_type(b'multipart/mixed; boundary=""', b"--\r\n\r\none\r\n----\r\n")
    yield "boundary-never-occurs", content_type(b"multipart/mixed; boundary=other")
    yield "boundary-only-closes", content_type(b"multipart/mixed; boundary=b", b"--b--\r\n")
    yield "no-end", content_type(b"multipart/mixed; boundary=b", b"--b\r\n\r\none\r\n--b\r\n\r\ntwo")
    yield "ends-in-delimiter", content_type(b"multipart/mixed; boundary=b", b"--b\r\n\r\none\r\n--b")
    yield "delimiters-touch", content_type(b"multipart/mixed; boundary=b", b"--b\r\n--b\r\n--b\r\n\r\n--b--")
    yield "blanks-after-delimiter", content_type(b"multipart/mixed; boundary=b", b"--b \t \r\n\r\none\r\n--b-- \t\r\nepilogue")
    yield "text-after-delimiter", content_type(b"multipart/mixed; boundary=b", b"--b\r\n\r\none\r\n--bx\r\n--b--x\r\n--b -\r\n--b--\r\n")
    yield (
        "upper-case-boundary",
        content_type(b"multipart/mixed; boundary=AbC", b"--abc\r\n\r\nno\r\n--AbC\r\n\r\nyes\r\n--abc--\r\n--AbC--\r\n"),
    )
    yield "boundary-ends-in-blank", content_type(b'multipart/mixed; boundary="b "')
    yield "boundary-with-blanks", content_type(b'multipart/mixed; boundary="a b c"', b"--a b c\r\n\r\none\r\n--a b c--\r\n")
    yield (
        "boundary-of-specials",
        content_type(b'multipart/mixed; boundary="(.*)+[]?\\\\d"', b"--(.*)+[]?\\d\r\n\r\none\r\n--(.*)+[]?\\d--\r\n"),
    )
    yield "boundary-of-dashes", content_type(b"multipart/mixed; boundary=----", b"------\r\n\r\none\r\n------\r\n\r\ntwo\r\n--------\r\n")
    yield "boundary-twice-declared", content_type(b"multipart/mixed; boundary=b; boundary=c")
    yield "boundary-in-sections", content_type(b"multipart/mixed; boundary*0=b; boundary*1=b", b"--bb\r\n\r\none\r\n--bb--\r\n")
    yield "boundary-with-comment", content_type(b"multipart/mixed (a (nested) comment); boundary=b (another)")
    yield "boundary-folded", content_type(b"multipart/mixed;\r\n\tboundary=\r\n b")
    yield "boundary-of-100k", content_type(b"multipart/mixed; boundary=" + b"b" * 100000, b"--" + b"b" * 100000 + b"\r\n\r\none\r\n")
    same = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    yield "same-boundary-inside", HEAD + same + b"--b\r\n" + same + b"--b\r\n\r\none\r\n--b--\r\n--b--\r\n"
    outer = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    inner = b"Content-Type: multipart/mixed; boundary=bb\r\n\r\n"
    yield "inner-continues-outer", HEAD + outer + b"--b\r\n" + inner + b"--bb\r\n\r\none\r\n--bb--\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    yield "outer-continues-inner", HEAD + inner + b"--bb\r\n" + outer + b"--b\r\n\r\none\r\n--b--\r\n--bb\r\n\r\ntwo\r\n--bb--\r\n"
    yield "inner-never-closed", HEAD + outer + b"--b\r\n" + inner + b"--bb\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    yield (
        "header-without-blank-in-part",
        content_type(b"multipart/mixed; boundary=b", b"--b\r\nContent-Type: text/html\r\n--b\r\ntext\r\n--b--"),
    )
    yield (
        "digest",
        content_type(
            b"multipart/digest; boundary=b", b"--b\r\n\r\nSubject: in\r\n\r\ntext\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--"
        ),
    )
    yield "message-in-base64", HEAD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64encode(HEAD)
    yield "message-global", HEAD + b"Content-Type: message/global\r\n\r\nSubject: \xc3\xa4\r\n\r\n\xc3\xa4\r\n"
    yield "message-partial", HEAD + b"Content-Type: message/partial; id=x; number=1\r\n\r\nSubject: y\r\n\r\nz\r\n"
    yield "multipart-in-base64", HEAD + b"Content-Transfer-Encoding: base64\r\n" + _B + b"--b\r\n\r\none\r\n--b--\r\n"
    yield (
        "message-header-is-boundary",
        HEAD + outer + b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"--bb\r\n\r\none\r\n--b--\r\n",
    )


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "deep-multiparts", nested_multiparts(3000)
    yield "deep-messages", nested_messages(3000)
    mixed = [
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\nContent-Type: message/rfc822\r\n\r\n" % (n, n) for n in range(500)
    ]
    yield "deep-mixed", HEAD + b"".join(mixed) + b"\r\ntext"
    deep = [b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(99)]
    yield "deep-and-long", HEAD + b"".join(deep) + b"\r\n" + b"\n--b" * 500000
    yield "many-parts", many_parts(11000)
    yield "many-empty-parts", HEAD + _B + b"--b\r\n" * 20000
    yield "many-false-delimiters", HEAD + _B + b"--bx\r\n" * 100000 + b"--b\r\n\r\nx\r\n--b--"
    yield "many-delimiters-of-blanks", HEAD + _B + (b"--b" + b" " * 1000 + b"x\r\n") * 1000
    digests = b"Content-Type: message/rfc822\r\n\r\nTo: " + b"a," * 500 + b"\r\n\r\n\r\n--b\r\n"
    yield "many-messages-with-addresses", HEAD + _B + b"--b\r\n" + digests * 700
    yield "many-parts-with-parameters", HEAD + _B + b"--b\r\n" + (b"Content-Type: a/b;" + b"a=b;" * 90 + b"\r\n\r\n\r\n--b\r\n") * 1000
    yield "many-fields", HEAD + b"X: y\r\n" * 100000 + b"\r\ntext"
    yield "many-fields-named-to", HEAD + b"To: a@b\r\n" * 50000 + b"\r\ntext"
    yield "many-content-types", HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n" * 5000 + b"\r\n--b\r\n\r\nx\r\n--b--"
    yield "no-blank-line-in-1mb", HEAD + b"x" * (1 << 20)
    yield "long-name", HEAD + b"x" * (1 << 20) + b": y\r\n\r\ntext"
    yield "long-line-in-body", HEAD + b"\r\n" + b"x" * (1 << 20)
    yield "folds", HEAD + b"Subject: x" + b"\r\n y" * 100000 + b"\r\n\r\ntext"
    yield "line-ends", HEAD + b"\r\n" * 500000
    yield "colons", HEAD + b":" * 300000 + b"\r\n\r\ntext"


def _fields() -> Iterator[tuple[str, bytes]]:
    many = b"".join(b"; p%d=v%d" % (n, n) for n in range(10000))
    yield "parameters", content_type(b"text/plain" + many)
    sections = b"".join(b"; name*%d=%d" % (n, n) for n in range(10000))
    yield "sections", content_type(b"text/plain" + sections)
    yield "sections-backwards", content_type(b"text/plain" + b"".join(b"; name*%d=x%d" % (n, n) for n in reversed(range(99))))
    yield "sections-with-gap", content_type(b"text/plain; name*0=a; name*2=c; name*3*=%41")
    yield "sections-mixed", content_type(b"text/plain; name*0*=utf-8'en'%C3%A4; name*1=50%; name*2*=%20b")
    yield "section-number-huge", content_type(b"text/plain; name*99999999999999999999=a; name*01=b")
    yield "encoded-broken", content_type(b"text/plain; name*=utf-8''%C3%; x*=''; y*=abc; z*='")
    yield "unclosed-quote", content_type(b'text/plain; name="abc; charset=utf-8')
    yield "escapes", content_type(b'text/plain; name="' + b"\\" * 99999 + b'"')
    yield "semicolons", content_type(b"text/plain" + b";" * 100000)
    yield "quotes", content_type(b"text/plain; x=" + b'"' * 100000)
    yield "equals", content_type(b"text/plain;" + b"=" * 100000)
    yield "parameter-blanks", content_type(b"text/plain; a" + b" " * 100000 + b"b")
    yield "comments-in-type", content_type(b"text/plain" + b"(" * 100000)
    yield "comments-closed-in-type", content_type(b"(" * 50000 + b")" * 50000 + b"text/plain; (x) charset (y) = (z) utf-8")
    for number, value in enumerate(
        (
            b"",
            b"/",
            b"text",
            b"text/",
            b"/plain",
            b"multipart",
            b"multipart/",
            b"text/plain/x",
            b"te xt/plain",
            b"\xff/\xfe",
            b";;;",
            b"message/rfc822\0",
            b"multi\0part/mixed; boundary=b",
        )
    ):
        yield f"type-{number}", content_type(value)
    yield "type-with-quotes", content_type(b'"text"/"plain"; charset="utf-8"')
    yield "strange-encoding", HEAD + b'Content-Transfer-Encoding: "base64" (x)\r\n\r\nYQ==\r\n'
    yield "empty-encoding", HEAD + b"Content-Transfer-Encoding:\r\n\r\ntext\r\n"
    yield (
        "descriptions",
        HEAD + b'Content-ID: <a"b>\r\nContent-Description: \xe4 \\ "q"\r\nContent-MD5: x\r\nContent-Location: y\r\n\r\ntext\r\n',
    )
    yield "languages", HEAD + b"Content-Language: " + b"de," * 10000 + b"\r\n\r\ntext\r\n"
    yield "disposition", HEAD + b'Content-Disposition: attachment; filename="a\\"b"; filename*=iso-8859-1\'\'%E4\r\n\r\ntext\r\n'
    for number, value in enumerate(
        (
            b"never",
            b"32 Jan 2025 10:00:00 +0000",
            b"Mon, 6 Foo 2025 10:00:00",
            b"1 Jan 99999 0:0:0",
            b"6 Jan 2025",
            b"Mon Jan  6 10:00:00 2025",
        )
    ):
        yield f"date-{number}", b"Date: " + value + b"\r\n\r\ntext\r\n"
    yield "date-of-blanks", b"Date: " + b" " * 100000 + b"x\r\n\r\ntext\r\n"
    yield "references", field(b"References", b"<a@b> " * 50000)
    yield "references-open", field(b"References", b"<" * 100000)
    yield "references-distinct", field(b"References", b" ".join(b"<%d@b>" % n for n in range(20000)))
    yield "message-id-broken", field(b"Message-ID", b"no brackets here")
    yield "message-id-long", field(b"Message-ID", b"<" + b"x" * 100000 + b"@b>")


def _addresses() -> Iterator[tuple[str, bytes]]:
    yield "addresses-100k", field(b"Cc", b", ".join(b'"User %d" <user%d@example.org>' % (n, n) for n in range(3500)))
    yield "addresses-tokens", field(b"Cc", b", ".join(b"User (%d) <user%d@example.org>" % (n, n) for n in range(3500)))
    yield "commas", field(b"Cc", b"," * 100000)
    yield "at-signs", field(b"Cc", b"@" * 100000)
    yield "angles", field(b"Cc", b"<" * 100000)
    yield "angles-closing", field(b"Cc", b">" * 100000)
    yield "dots", field(b"Cc", b"." * 100000 + b"@x")
    yield "atoms", field(b"Cc", b"a " * 50000)
    yield "dotted", field(b"Cc", b"a." * 50000 + b"a")
    yield "blank-dots", field(b"Cc", b"a . " * 30000 + b"@x")
    yield "comments-nested", field(b"Cc", b"(" * 50000 + b"x" + b")" * 50000 + b" a@b")
    yield "comments-open", field(b"Cc", b"a@b (" * 20000)
    yield "comments-many", field(b"Cc", b"(x)" * 30000)
    yield "comments-escaped", field(b"Cc", b"(" + b"\\(" * 50000)
    yield "quotes-open", field(b"Cc", b'"\\' * 50000)
    yield "quotes-odd", field(b"Cc", b'a"b@c' * 20000)
    yield "literals-open", field(b"Cc", b"a@[" * 30000)
    yield "groups", field(b"Cc", b"g: a@b;" * 10000)
    yield "groups-nested", field(b"Cc", b"g:" * 50000)
    yield "groups-closing", field(b"Cc", b";" * 100000)
    yield "routes", field(b"Cc", b"<@a,@b:" * 10000 + b"c@d>")
    yield "route", field(b"Cc", b"<" + b"@a," * 30000 + b":c@d>")
    yield "eight-bit", field(b"Cc", b"\xc3\xa4 \xff <\xfe@\xfd>")
    yield "no-address", field(b"Cc", b"undisclosed recipients")
    yield "empty-angle", field(b"Cc", b"<>, Name <>")


def _texts() -> Iterator[tuple[str, bytes]]:
    yield "words-without-end", field(b"Subject", b"=?utf-8?q?" * 10000)
    yield "words-many", field(b"Subject", b"=?utf-8?q?a?= " * 10000)
    yield "words-of-question-marks", field(b"Subject", b"=?" * 50000)
    for charset in (b"idna", b"punycode", b"unicode_escape", b"base64", b"../../x", b"utf-7", b"undefined", b"x" * 60, b"utf-16", b"\xff"):
        yield f"charset-{charset[:12]!r}", field(b"Subject", b"=?%b?b?%b?=" % (charset, b64encode(b"a.b-" * 500)))
    yield "word-broken-base64", field(b"Subject", b"=?utf-8?b?YWJ?= =?utf-8?b?=?= =?utf-8?b?!!!!?= =?utf-8?b?YQ=YQ==?=")
    yield "word-cut-character", field(b"Subject", b"=?utf-8?b?w6?= =?utf-8?b?Q=?= =?utf-8?q?=C3?= =?utf-8?q?=A4?=")
    yield "subject-1mb", field(b"Subject", b"x" * (1 << 20))
    yield "subject-blobs", field(b"Subject", b"[a]" * 50000)
    yield "subject-open-blobs", field(b"Subject", b"[" * 50000)
    yield "subject-re", field(b"Subject", b"re: " * 50000)
    yield "subject-re-blob", field(b"Subject", b"re[a" * 50000)
    yield "subject-fwd", field(b"Subject", b"[fwd: " * 20000 + b"x" + b"]" * 20000)
    yield "subject-fwd-trailer", field(b"Subject", b"x" + b" (fwd)" * 20000)
    html = HEAD + b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    yield "html-styles", html + b"<style " * 100000
    yield "html-scripts", html + b"<script>x" * 50000
    yield "html-angles", html + b"<" * 300000
    yield "html-comments", html + b"<!--" * 100000
    yield "html-entities", html + b"&#99999999999;&amp" * 20000
    yield "html-closed-styles", html + b"<style></style>" * 20000
    plain = HEAD + b"Content-Type: text/plain; charset="
    yield "charset-unknown", plain + b"x-nothing\r\n\r\n\xe4\xf6\xfc\r\n"
    yield "charset-multibyte", plain + b"iso-2022-jp\r\n\r\n\x1b$B" + b"\x21" * 10001
    yield "charset-utf-7", plain + b"utf-7\r\n\r\n" + b"+" * 100000
    yield "base64-broken", HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"YWJj=Zm9v!" * 9999
    yield (
        "quoted-printable-broken",
        HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * 99999,
    )
    yield (
        "quoted-printable-blanks",
        HEAD + b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b" " * 200000,
    )
