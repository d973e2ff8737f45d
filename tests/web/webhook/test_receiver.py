"""What callers are told, and what becomes of their mail."""

import json
from email import message_from_bytes, policy
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from mailx.core.calls import DELIVERED, QUEUED, Posted
from mailx.mail.address import Address
from mailx.mail.envelope import Envelope
from mailx.mail.reply import Reply, Unavailable
from mailx.store.messages import open_content
from tests.web.webhook.scene import BODY, MESSAGE, PATH, Said, Scene, request, scene, sign, stamp


class Base(TestCase):
    """A receiver that is ready."""

    settings: dict[str, Any] = {}

    async def setUp(self) -> None:
        self.scene: Scene = await scene(self, **self.settings)

    def refused(self, said: Said, status: int, error: str, field: str = "") -> None:
        expected = {"ok": False, "error": error, **({"field": field} if field else {})}
        self.assertEqual((said.status, said.json), (status, expected))

    async def content(self) -> Any:
        """The only message in the queue, parsed."""
        (message,) = await self.messages()
        return message

    async def messages(self) -> list[Any]:
        rows = await self.scene.office.world.store.read(
            lambda txn: txn.all("SELECT m.guid, b.content FROM messages m JOIN bodies b ON b.message_id = m.id ORDER BY m.id")
        )
        return [
            message_from_bytes(open_content(self.scene.office.world.cipher, bytes(guid), bytes(sealed)), policy=policy.default)
            for guid, sealed in rows
        ]


class Accepting(Base):
    """Calls that are taken."""

    async def test_verification(self) -> None:
        said = await self.scene.post(BODY)
        self.assertEqual(said.status, 200)
        self.assertEqual(
            said.json,
            {"ok": True, "to": BODY["to"], "subject": BODY["subject"], "queued_id": 1, "queued_at": "2023-11-14T22:13:20.000000Z"},
        )
        self.assertEqual(said.headers["content-type"], "application/json")
        message = await self.content()
        self.assertEqual(message["From"], "no-reply@example.test")
        self.assertEqual(message["To"], BODY["to"])
        self.assertEqual(message["Subject"], BODY["subject"])
        self.assertEqual(message["Return-Path"], "<no-reply@example.test>")
        self.assertEqual(message["Auto-Submitted"], "auto-generated")
        self.assertNotIn("192.0.2.1", message["Received"])
        for part in message.iter_parts():
            self.assertIn(BODY["token"], part.get_content())
            self.assertIn("21 February 2026, 06:00 UTC", part.get_content())
        (entry,) = await self.scene.office.entries()
        self.assertEqual(entry.recipient, BODY["to"])
        call = await self.scene.calls.show(1)
        assert call is not None
        self.assertEqual((call.state, call.to, call.sender, call.type), (QUEUED, BODY["to"], "no-reply@example.test", BODY["type"]))
        self.assertEqual(call.envelope, entry.envelope)

    async def test_the_link_is_made_of_the_web_site(self) -> None:
        await self.scene.change(public_web_url="https://app.example.org/")
        await self.scene.post({**BODY, "type": "password_reset", "link": None, "token": "a&b c"})
        text, html = [part.get_content() for part in (await self.content()).iter_parts()]
        self.assertIn("https://app.example.org/reset-password?token=a%26b%20c\r\n", text)
        self.assertIn('href="https://app.example.org/reset-password?token=a%26b%20c"', html)

    async def test_what_the_settings_keep_from_templates(self) -> None:
        await self.scene.change(include_token=False, include_link=False, include_expires=False)
        await self.scene.post({**BODY, "token": "sesame"})
        content = (await self.content()).as_string()
        for secret in ("sesame", "https://", "2026"):
            self.assertNotIn(secret, content)

    async def test_html_is_escaped(self) -> None:
        await self.scene.post({**BODY, "token": "<script>alert(1)</script>"})
        text, html = [part.get_content() for part in (await self.content()).iter_parts()]
        self.assertIn("<script>", text)
        self.assertNotIn("<script>", html)
        self.assertIn("&lt;script&gt;", html)

    async def test_names_and_local_parts(self) -> None:
        await self.scene.change(sender_name='The "Example"', local_parts="listed", allowed_local_parts=("billing",))
        self.assertEqual((await self.scene.post({**BODY, "fromLocalPart": "billing"})).status, 200)
        self.refused(
            await self.scene.post({**BODY, "fromLocalPart": "ceo"}), 422, "invalid fromLocalPart: not allowed here", "fromLocalPart"
        )
        self.assertEqual((await self.content())["From"], '"The \\"Example\\"" <billing@example.test>')
        await self.scene.change(local_parts="any")
        self.assertEqual((await self.scene.post({**BODY, "fromLocalPart": "ceo"})).status, 200)
        await self.scene.change(local_parts="refused")
        self.assertEqual((await self.scene.post({**BODY, "fromLocalPart": "sales"})).status, 422)
        self.assertEqual((await self.scene.post({**BODY, "fromLocalPart": "no-reply"})).status, 200)

    async def test_message(self) -> None:
        body = {
            **MESSAGE,
            "subject": "Grüße",
            "html": '<p>Good <img src="cid:logo"></p>',
            "fromName": "Ärzte",
            "replyTo": "help@example.org",
            "attachments": [
                {"filename": "Größe.pdf", "contentType": "application/pdf", "content": "AAEC"},
                {"filename": "logo.png", "contentType": "image/png", "content": "/w==", "contentId": "logo", "inline": True},
            ],
        }
        said = await self.scene.post(body)
        self.assertEqual((said.status, said.json["subject"]), (200, "Grüße"))
        message = await self.content()
        self.assertEqual(
            (message["Subject"], message["From"], message["Reply-To"]), ("Grüße", "Ärzte <no-reply@example.test>", "help@example.org")
        )
        self.assertEqual(message.get_body(("plain",)).get_content(), "Good news\r\n")
        (attachment,) = message.iter_attachments()
        self.assertEqual((attachment.get_filename(), attachment.get_content()), ("Größe.pdf", b"\0\1\2"))

    async def test_recipients_here_have_it_at_once(self) -> None:
        said = await self.scene.post({**BODY, "to": "me@example.test"})
        self.assertEqual(said.status, 200)
        self.assertEqual(len(await self.scene.office.world.contents(self.scene.office.user)), 1)
        call = await self.scene.calls.show(said.json["queued_id"])
        assert call is not None
        self.assertEqual(call.state, DELIVERED)

    async def test_nobody_here(self) -> None:
        said = await self.scene.post({**BODY, "to": "nobody@example.test"})
        self.refused(said, 422, "recipient refused: No such mailbox here", "to")
        self.assertIsNone(await self.scene.calls.show(1))

    async def test_international_addresses(self) -> None:
        self.assertEqual((await self.scene.post({**BODY, "to": "user@bücher.example"})).json["to"], "user@bücher.example")
        self.assertEqual((await self.scene.post({**BODY, "to": "jürgen@bücher.example"})).status, 200)
        one, _ = await self.messages()
        self.assertEqual(one["To"], "user@xn--bcher-kva.example")
        self.assertEqual([entry.recipient for entry in await self.scene.office.entries()][1], "jürgen@bücher.example")

    async def test_international_sender(self) -> None:
        """What is not ASCII in any address asks for SMTPUTF8."""
        taken: list[Envelope] = []

        async def accept(envelope: Envelope, *, call: Posted | None = None) -> dict[Address, Reply]:
            taken.append(envelope)
            raise Unavailable("this is all")

        self.patch(self.scene.office.reception, "accept", accept)
        for changes, utf8 in (({}, False), ({"sender_local": "jürgen"}, True)):
            await self.scene.change(**changes)
            await self.scene.post({**MESSAGE, "replyTo": "help@bücher.example"})
            self.assertEqual(taken.pop().demands.utf8, utf8)

    async def test_large(self) -> None:
        """Read in a thread, kept in a file."""
        body = {**MESSAGE, "attachments": [{"filename": "x", "content": "QUFB" * 60000}]}
        self.assertEqual((await self.scene.post(body)).status, 200)
        self.assertEqual(await self.scene.queued(), 1)
        self.assertEqual(self.scene.listener.held, 0)

    async def test_unknown_fields_are_ignored(self) -> None:
        self.assertEqual((await self.scene.post({**BODY, "more": {"a": [1, 2]}, "bcc": "x@example.org"})).status, 200)
        self.assertEqual(len(await self.scene.office.entries()), 1)

    async def test_callbacks_are_told(self) -> None:
        await self.scene.post(BODY)
        self.assertEqual(self.scene.told, [])
        await self.scene.post({**BODY, "callbackUrl": "https://example.org/hook"})
        self.assertEqual(self.scene.told, [True])


class Repeating(Base):
    """A repeat is answered as the first was, and queues nothing."""

    async def test_the_same_signature(self) -> None:
        first = await self.scene.post(BODY)
        again = await self.scene.post(BODY)
        self.assertEqual((again.status, again.body), (first.status, first.body))
        self.assertEqual(await self.scene.queued(), 1)

    async def test_both_at_once(self) -> None:
        raw = json.dumps(BODY).encode()
        callers = [self.scene.connect() for _ in range(8)]
        for caller in callers:
            caller.send(request("POST", PATH, raw, {"Content-Type": "application/json", **sign(raw)}))
        answers = await gatherResults([ensureDeferred(caller.answer()) for caller in callers])
        self.assertEqual(len({answer.body for answer in answers}), 1)
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(await self.scene.queued(), 1)

    async def test_upper_case_is_the_same_signature(self) -> None:
        raw = json.dumps(BODY).encode()
        headers = sign(raw)
        first = await self.scene.post(raw, headers)
        again = await self.scene.post(raw, {name: value.upper() if "Signature" in name else value for name, value in headers.items()})
        self.assertEqual(again.body, first.body)
        self.assertEqual(await self.scene.queued(), 1)

    async def test_another_timestamp_is_another_call(self) -> None:
        raw = json.dumps(BODY).encode()
        first = await self.scene.post(raw, sign(raw, stamp()))
        second = await self.scene.post(raw, sign(raw, stamp(1)))
        self.assertNotEqual(first.json["queued_id"], second.json["queued_id"])
        self.assertEqual(await self.scene.queued(), 2)

    async def test_after_the_recipient_was_suppressed(self) -> None:
        first = await self.scene.post(BODY)
        self.scene.suppressed.addresses.add("user@example.com")
        self.assertEqual((await self.scene.post(BODY)).body, first.body)
        await self.scene.change(sender_domain="")
        self.assertEqual((await self.scene.post(BODY)).body, first.body)

    async def test_idempotency_key(self) -> None:
        raw = json.dumps(BODY).encode()
        first = await self.scene.post(raw, {**sign(raw), "Idempotency-Key": "order-1"})
        again = await self.scene.post(raw, {**sign(raw, stamp(2)), "Idempotency-Key": "order-1"})
        self.assertEqual((first.status, again.body), (200, first.body))
        other = json.dumps({**BODY, "token": "7"}).encode()
        said = await self.scene.post(other, {**sign(other), "Idempotency-Key": "order-1"})
        self.refused(said, 422, "idempotency key was used with another body", "Idempotency-Key")
        self.assertEqual((await self.scene.post(other, {**sign(other), "Idempotency-Key": "order-2"})).status, 200)
        self.assertEqual(await self.scene.queued(), 2)
        for wrong in ("", "a b", "x" * 256, "é"):
            said = await self.scene.post(other, {**sign(other, stamp(5)), "Idempotency-Key": wrong})
            self.assertEqual((said.status, said.json["field"]), (400, "Idempotency-Key"))

    async def test_a_record_that_is_damaged(self) -> None:
        """Nothing is queued twice, and nothing is answered that nobody knows."""
        raw = json.dumps(BODY).encode()
        await self.scene.post(raw, {**sign(raw), "Idempotency-Key": "order-1"})
        await self.scene.office.world.store.write(lambda txn: txn.execute("UPDATE calls SET details = ?", (b"damaged",)))
        for stamped in (stamp(), stamp(2)):
            said = await self.scene.post(raw, {**sign(raw, stamped), "Idempotency-Key": "order-1"})
            self.refused(said, 422, "accepted before, but its record is damaged")
        self.assertEqual(await self.scene.queued(), 1)

    async def test_unsigned_calls_repeat_freely(self) -> None:
        await self.scene.change(signature=False)
        first, second = await self.scene.post(BODY, {}), await self.scene.post(BODY, {})
        self.assertNotEqual(first.json["queued_id"], second.json["queued_id"])
        raw = {"Idempotency-Key": "k"}
        first, second = await self.scene.post(BODY, raw), await self.scene.post(BODY, raw)
        self.assertEqual(first.json["queued_id"], second.json["queued_id"])

    async def test_a_refused_call_may_come_again(self) -> None:
        self.scene.suppressed.addresses.add("user@example.com")
        self.assertEqual((await self.scene.post(BODY)).status, 422)
        self.scene.suppressed.addresses.clear()
        self.assertEqual((await self.scene.post(BODY)).json["queued_id"], 1)


class OnPostgreSQL(Repeating):
    """The same on the other engine."""

    settings = {"engine": "postgresql"}


class Refusing(Base):
    """Each check, and their order."""

    async def test_missing_signature(self) -> None:
        raw = json.dumps(BODY).encode()
        good = sign(raw)
        for headers in ({}, *[{name: value} for name, value in good.items()], {**good, "X-TransLife-Signature": ""}):
            self.refused(await self.scene.post(raw, headers), 401, "missing signature")

    async def test_invalid_signature(self) -> None:
        raw = json.dumps(BODY).encode()
        good = sign(raw)
        signature = good["X-TransLife-Signature"]
        for wrong in ("0" * 64, signature[:-1], signature + "0", signature[:-2] + "zz", "é" * 64):
            self.refused(await self.scene.post(raw, {**good, "X-TransLife-Signature": wrong}), 401, "invalid signature")
        self.refused(await self.scene.post(raw + b" ", good), 401, "invalid signature")
        self.refused(await self.scene.post(raw, sign(raw, secret="another")), 401, "invalid signature")
        for moment in (stamp(-301), stamp(301), "yesterday", "9999-99-99T99:99:99Z", "0000-01-01T00:00:00Z", "9" * 64, "2023-11-14"):
            self.refused(await self.scene.post(raw, sign(raw, moment)), 401, "invalid signature")
        self.assertEqual(await self.scene.queued(), 0)

    async def test_timestamps(self) -> None:
        forms = ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.123456+00:00", "2023-11-14T23:13:20.1+01:00", "2023-11-14T22:13:20")
        for number, moment in enumerate((*forms, stamp(-299), stamp(299))):
            raw = json.dumps({**BODY, "token": str(number)}).encode()
            self.assertEqual((await self.scene.post(raw, sign(raw, moment))).status, 200, moment)

    async def test_other_names_of_headers(self) -> None:
        await self.scene.change(header_prefix="X-Acme")
        raw = json.dumps(BODY).encode()
        self.refused(await self.scene.post(raw, sign(raw)), 401, "missing signature")
        acme = {name.replace("TransLife", "Acme").lower(): value for name, value in sign(raw).items()}
        self.assertEqual((await self.scene.post(raw, acme)).status, 200)

    async def test_json(self) -> None:
        for raw in (
            b"",
            b"{",
            b"\xff",
            b"[]",
            b"null",
            b'"x"',
            b'{"a": NaN}',
            b'{"a": 1, "a": 2}',
            b'{"a": {"b": 1, "b": 2}}',
            b"\xef\xbb\xbf{}",
            b'{"a": ' + b"[" * 100000,
            b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}",
            b'{"a": ' + b"9" * 5000 + b"}",
            json.dumps(BODY).encode("utf-16"),
        ):
            self.refused(await self.scene.post(raw), 400, "invalid json")

    async def test_fields(self) -> None:
        for field, value, status in (
            ("type", None, 400),
            ("type", "advertisement", 400),
            ("type", ["message"], 400),
            ("to", "two@example.com, three@example.com", 400),
            ("to", "User <user@example.com>", 400),
            ("to", "user@example.com\r\nBcc: all@example.com", 400),
            ("to", "user", 400),
            ("to", "", 400),
            ("to", "a" * 65 + "@example.com", 400),
            ("to", "\ud800@example.com", 400),
            ("subject", "Hello\nBcc: all@example.com", 400),
            ("subject", "\x00", 400),
            ("subject", "\x85", 400),
            ("subject", "\u2028", 400),
            ("subject", "\udfff", 400),
            ("subject", " ", 400),
            ("subject", "x" * 999, 400),
            ("token", 5, 400),
            ("token", "", 400),
            ("token", "a\tb", 400),
            ("token", "x" * 4097, 400),
            ("expiresAt", "tomorrow", 400),
            ("expiresAt", "9999-12-31T23:59:59-01:00", 400),
            ("expiresAt", "0001-01-01T00:00:00+01:00", 400),
            ("expiresAt", 1700000000, 400),
            ("link", "javascript:alert(1)", 400),
            ("link", "https://", 400),
            ("link", 'https://example.com/"><script>', 400),
            ("link", "https://[", 400),
            ("fromLocalPart", "a@b", 400),
            ("fromLocalPart", "a\r\nb", 400),
            ("callbackUrl", "file:///etc/passwd", 400),
        ):
            said = await self.scene.post({**BODY, field: value})
            self.assertEqual((said.status, said.json["field"]), (status, field), (field, value, said.body))
            self.assertTrue(said.json["error"].startswith(f"invalid {field}: "), said.body)
        self.assertEqual(await self.scene.queued(), 0)

    async def test_fields_of_messages(self) -> None:
        good = {"filename": "a.txt", "content": "QQ=="}
        for field, more in (
            ("text", {"text": ""}),
            ("text", {"text": "\x00"}),
            ("text", {"text": "\ud800"}),
            ("html", {"html": "\x1b"}),
            ("fromName", {"fromName": "a\r\nb"}),
            ("replyTo", {"replyTo": "a@b, c@d"}),
            ("attachments", {"attachments": "x"}),
            ("attachments", {"attachments": [good] * 51}),
            ("attachments", {"attachments": [{**good, "contentId": "a"}] * 2}),
            ("attachments[0].filename", {"attachments": [{"content": "QQ=="}]}),
            ("attachments[0].filename", {"attachments": [{**good, "filename": "../../etc/passwd"}]}),
            ("attachments[0].filename", {"attachments": [{**good, "filename": 'x"\r\nX: y'}]}),
            ("attachments[0].contentType", {"attachments": [{**good, "contentType": "text/html\r\nX: y"}]}),
            ("attachments[0].contentType", {"attachments": [{**good, "contentType": "message/rfc822"}]}),
            ("attachments[0].contentType", {"attachments": [{**good, "contentType": "text/plain; name=x"}]}),
            ("attachments[0].contentId", {"attachments": [{**good, "contentId": "a>\r\nX: y"}]}),
            ("attachments[0].contentId", {"attachments": [{**good, "contentId": "a b"}]}),
            ("attachments[1].content", {"attachments": [good, {"filename": "x", "content": "###"}]}),
            ("attachments[0].content", {"attachments": [{"filename": "x"}]}),
            ("attachments[0].inline", {"attachments": [{**good, "inline": "yes"}]}),
        ):
            said = await self.scene.post({**MESSAGE, **more})
            self.assertEqual((said.status, said.json["field"]), (400, field), (more, said.body))
        self.assertEqual(await self.scene.queued(), 0)

    async def test_content_types(self) -> None:
        raw = json.dumps(BODY).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonp"):
            self.refused(await self.scene.post(raw, {**sign(raw), "Content-Type": kind}), 415, "unsupported media type")
        self.refused(await self.scene.post(raw, {**sign(raw), "Content-Encoding": "gzip"}), 415, "unsupported content encoding")
        self.assertEqual((await self.scene.post(raw, {**sign(raw), "Content-Type": "Application/JSON; charset=UTF-8"})).status, 200)

    async def test_unready(self) -> None:
        await self.scene.change(secret="")
        self.refused(await self.scene.post(BODY), 503, "webhook secret not configured")
        await self.scene.change(secret="a secret that two programs share", sender_domain="")
        self.refused(await self.scene.post(BODY), 503, "sender domain not configured")

    async def test_order_of_checks(self) -> None:
        """Everything is wrong; one thing after the other is put right."""
        await self.scene.change(allowed=("198.51.100.0/24",), secret="", sender_domain="")
        caller = self.scene.connect("192.0.2.1")
        self.assertEqual((await caller.ask(request("GET", PATH))).status, 405)
        self.assertEqual((await caller.ask(request("POST", "/other", b"{"))).status, 404)
        self.refused(await self.scene.post(b"{", {}), 403, "forbidden")
        await self.scene.change(allowed=())
        self.refused(await self.scene.post(b"{", {}), 503, "webhook secret not configured")
        await self.scene.change(secret="a secret that two programs share")
        self.refused(await self.scene.post(b"{", {}), 401, "missing signature")
        self.refused(await self.scene.post(b"{"), 400, "invalid json")
        self.assertEqual((await self.scene.post({**BODY, "to": ""})).json["field"], "to")
        self.refused(await self.scene.post(BODY), 503, "sender domain not configured")

    async def test_suppressed(self) -> None:
        self.scene.suppressed.addresses.add("user@example.com")
        self.refused(await self.scene.post(BODY), 422, "recipient suppressed", "to")
        await self.scene.change(suppress=False)
        self.assertEqual((await self.scene.post(BODY)).status, 200)

    async def test_the_store_is_away(self) -> None:
        self.scene.suppressed.trouble = Unavailable("disk full at /secret/path")
        said = await self.scene.post(BODY)
        self.refused(said, 503, "temporarily unavailable")
        self.assertEqual(said.headers["retry-after"], "30")
        self.scene.suppressed.trouble = None
        self.assertEqual((await self.scene.post(BODY)).status, 200)

    async def test_what_fails_tells_nothing(self) -> None:
        self.scene.suppressed.trouble = KeyError("inside")
        self.refused(await self.scene.post(BODY), 500, "internal error")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_rate(self) -> None:
        await self.scene.change(per_minute=2)
        for expected in (401, 401, 429):
            said = await self.scene.post(b"{", {})
            self.assertEqual(said.status, expected)
        self.assertGreater(int(said.headers["retry-after"]), 0)
        self.assertEqual(said.json["error"], "too many requests")
        self.assertEqual((await self.scene.post(b"{", {}, host="192.0.2.2")).status, 401)
        self.assertEqual((await self.scene.connect().ask(request("GET", "/healthz"))).status, 200)


class Sources(Base):
    """Where calls come from."""

    settings = {"allowed": ("192.0.2.0/24", "2001:db8::/32"), "proxies": ("10.0.0.0/8", "::1/128")}

    async def test_allowed(self) -> None:
        for host, forwarded, status in (
            ("192.0.2.9", "", 401),
            ("198.51.100.1", "", 403),
            ("2001:db8::1", "", 401),
            ("::ffff:192.0.2.9", "", 401),
            ("2001:db9::1", "", 403),
            ("198.51.100.1", "192.0.2.9", 403),  # no proxy: it may say what it wants
            ("10.0.0.1", "", 403),
            ("10.0.0.1", "192.0.2.9", 401),
            ("::1", "192.0.2.9", 401),
            ("10.0.0.1", "192.0.2.9, 198.51.100.1", 403),
            ("10.0.0.1", "198.51.100.1, 192.0.2.9, 10.0.0.2", 401),
            ("10.0.0.1", "192.0.2.9:4711", 401),
            ("10.0.0.1", "[2001:db8::1]:4711", 401),
            ("10.0.0.1", "192.0.2.9, unknown", 403),
            ("10.0.0.1", ", ," * 2000, 403),
        ):
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            self.assertEqual((await self.scene.post(BODY, headers, host)).status, status, (host, forwarded[:50]))


class Status(Base):
    """How far a call has come."""

    async def test_signed_over_the_path(self) -> None:
        path = f"{PATH}/42"
        said = await self.scene.connect().ask(request("GET", path, headers=sign(path.encode())))
        self.assertEqual((said.status, said.json["queued_id"]), (200, 42))
        self.assertEqual(said.json["secret"], self.scene.calls.fingerprint("a secret that two programs share"))
        self.refused(await self.scene.connect().ask(request("GET", path)), 401, "missing signature")
        self.refused(await self.scene.connect().ask(request("GET", path, headers=sign(b"/other"))), 401, "invalid signature")
        for id in ("x", "-1", "4" * 30, "%34", "1/2"):
            path = f"{PATH}/{id}"
            said = await self.scene.connect().ask(request("GET", path, headers=sign(path.encode())))
            self.refused(said, 404, "not found")
        self.assertEqual((await self.scene.connect().ask(request("POST", f"{PATH}/42", b"{}"))).headers["allow"], "GET")
