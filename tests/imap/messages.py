"""Messages that the tests deliver, by name."""


def crlf(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


PLAIN = crlf("""\
From: Ann <ann@example.org>
To: me@example.test
Subject: Plain
Date: Mon, 2 Nov 2026 10:00:00 +0100
Message-ID: <plain@example.org>

Hello,
this is plain.
""")

MULTIPART = crlf("""\
From: "Bob, \\"B\\"" <bob@example.org>
To: me@example.test
Cc: Carl <carl@example.org>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Date: Tue, 3 Nov 2026 11:00:00 +0000
Message-ID: <multi@example.org>
In-Reply-To: <plain@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="AbC"

preamble
--AbC
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Gr=C3=BC=C3=9Fe aus K=C3=B6ln
--AbC
Content-Type: message/rfc822

From: Dora <dora@example.org>
Subject: Inner
Content-Type: multipart/alternative; boundary=in

--in
Content-Type: text/plain

one
--in
Content-Type: text/html

<p>two</p>
--in--

--AbC
Content-Type: application/pdf; name="a.pdf"
Content-Disposition: attachment; filename="a.pdf"
Content-Transfer-Encoding: base64

JVBERi0=
--AbC--
epilogue
""")

FORWARD = crlf("""\
From: Emil <emil@example.org>
To: me@example.test
Subject: Fwd: single
Content-Type: message/rfc822

From: Fritz <fritz@example.org>
Subject: The inner one

Inner body
""")

BARE = b"No header at all\r\n"

BY_NAME = {"plain": PLAIN, "multipart": MULTIPART, "forward": FORWARD, "bare": BARE}
