"""The mail that the loads send: deterministic, realistic, about 4 KB each, with words to search for.

Of 100 messages 60 are plain text, 25 have an HTML alternative, 15 an attachment, some of them nested; one in ten has an
encoded subject. ``quarterly`` stands in the subject of 1 %, ``zymurgy`` in the body of 0.5 %.
"""

import base64
import random
import re
from collections.abc import Iterator

_SYLLABLES = "ba ce di fo gu la me ni po ru sa te vi wo xu zan bel cor din fer gol han".split()
_DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class Corpus:
    """A seeded source of messages (CRLF line ends): the same seed gives the same bytes everywhere."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        words = random.Random(0)
        # Common ones first: a few words are common and most are rare, as in any language.
        self.words = sorted({"".join(words.choices(_SYLLABLES, k=words.randint(1, 4))) for _ in range(9000)})

    def _word(self) -> str:
        return self.words[int(len(self.words) * self._random.random() ** 3)]

    def _text(self, octets: int, planted: str = "") -> str:
        lines: list[str] = []
        left = octets
        while left > 0:
            line = " ".join(self._word() for _ in range(9))
            lines.append(line)
            left -= len(line) + 2
        if planted:
            lines.insert(len(lines) // 2, f"here {planted} stands")
        return "\r\n".join(lines) + "\r\n"

    def _person(self) -> str:
        first, last = self._word(), self._word()
        return f'"{first.capitalize()} {last.capitalize()}" <{first}.{last}@{self._word()}.example.net>'

    def _base64(self, octets: int) -> str:
        return base64.encodebytes(self._random.randbytes(octets * 3 // 4)).decode().replace("\n", "\r\n")

    def _header(self, number: int) -> str:
        subject = " ".join(self._word() for _ in range(self._random.randint(2, 8)))
        if number % 100 == 17:
            subject = f"quarterly figures {subject}"
        elif number % 10 == 3:
            encoded = base64.b64encode(f"Übersicht {subject}".encode()).decode()
            subject = f"=?utf-8?B?{encoded}?="
        date = f"{_DAYS[number % 7]}, {number % 28 + 1:02} {_MONTHS[number % 12]} 2025 {number % 24:02}:{number % 60:02}:07 +0000"
        token = f"{self._random.getrandbits(64):016x}"
        fields = [
            f"Received: from relay{number % 7}.example.net (relay{number % 7}.example.net [192.0.2.{number % 250 + 1}])\r\n"
            f"\tby mx.example.test with ESMTPS id {token}\r\n\tfor <u1@example.test>; {date}",
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=a1;\r\n"
            f"\th=from:to:subject:date:message-id; bh={base64.b64encode(self._random.randbytes(32)).decode()};\r\n"
            f"\tb={base64.b64encode(self._random.randbytes(192)).decode()}",
            f"From: {self._person()}",
            f"To: u1@example.test{''.join(', ' + self._person() for _ in range(number % 3))}",
            f"Subject: {subject}",
            f"Date: {date}",
            f"Message-ID: <{token}.{number}@example.net>",
            "MIME-Version: 1.0",
        ]
        if number % 4 == 1:
            parent = f"<parent{number // 4}@example.net>"
            fields.append(f"In-Reply-To: {parent}\r\nReferences: <root{number // 8}@example.net>\r\n {parent}")
        if number % 6 == 0:
            fields.append(f"Cc: {self._person()}")
        return "\r\n".join(fields) + "\r\n"

    def _alternative(self, boundary: str, octets: int, planted: str) -> str:
        return (
            f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'
            f"Content-Type: text/plain; charset=utf-8\r\n\r\n{self._text(octets // 2, planted)}--{boundary}\r\n"
            "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
            f"<html><body><p>{self._text(octets // 2)}</p></body></html>\r\n--{boundary}--\r\n"
        )

    def _attachment(self, octets: int) -> str:
        name = self._word()
        return (
            f'Content-Type: application/pdf; name="{name}.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
            f'Content-Disposition: attachment; filename="{name}.pdf"\r\n\r\n{self._base64(octets)}'
        )

    def message(self, number: int, octets: int = 4096) -> bytes:
        """Message ``number``, about ``octets`` long."""
        header = self._header(number)
        planted = "zymurgy" if number % 200 == 42 else ""
        left = max(200, octets - len(header) - 300)
        outer, inner, kind = f"=_o{number}", f"=_i{number}", number % 20
        if kind < 12 and octets < 65536:
            body = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{self._text(left, planted)}"
        elif kind < 17 and octets < 65536:
            body = self._alternative(inner, left, planted)
        else:
            text = min(left // 3, 2000)
            first = f"Content-Type: text/plain\r\n\r\n{self._text(text, planted)}" if kind < 19 else self._alternative(inner, text, planted)
            body = (
                f'Content-Type: multipart/mixed; boundary="{outer}"\r\n\r\n--{outer}\r\n{first}--{outer}\r\n'
                f"{self._attachment(int((left - text) * 0.985))}--{outer}--\r\n"
            )
        return (header + body).encode()

    def messages(self, count: int, octets: int = 4096) -> Iterator[bytes]:
        for number in range(count):
            yield self.message(number, octets)


def submitted(message: bytes, author: str) -> bytes:
    """``message`` as ``author`` submits it: nobody has signed it yet, and a key of the author's domain may."""
    fields = re.sub(rb"DKIM-Signature: [^\r]*(\r\n\t[^\r]*)*\r\n", b"", message, count=1)
    return re.sub(rb"From: [^\r]*", b"From: " + author.encode(), fields, count=1)
