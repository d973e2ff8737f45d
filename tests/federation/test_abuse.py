"""Everything that a hostile peer may try: refused with a reason on both sides, logged, nothing kept, memory bounded."""

from typing import Any
from unittest.mock import ANY

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from mailx.federation import broker
from mailx.federation.banana_limits import BananaLimits
from mailx.federation.channel import Unreachable
from mailx.federation.link import LinkLimits
from tests.federation.abused import Abused
from tests.federation.hostile import DIALECT, HELLO, TLS, Forger, Raw, banana, context, fields, listening, message, showing
from tests.federation.test_link import Echo

WRONG_KEY = "signed by a key that is not the domain's"


def forged(domain: str, authority: Ed25519PrivateKey) -> dict[str, tuple[Any, str]]:
    """Contexts of dishonest chains, and what is said of each. ``authority`` is the key of ``domain``."""
    stranger = Ed25519PrivateKey.generate()
    other = f"evil.{domain}"
    made: dict[str, tuple[Any, str]] = {}

    def add(name: str, said: str, key: Ed25519PrivateKey = authority, *, only: slice = slice(None), **changes: Any) -> None:
        forger = Forger(key, domain)
        if private := changes.pop("private", None):
            forger.private = private
        made[name] = context(forger.chain(**changes)[only], forger.private), said

    add("of a stranger's key", WRONG_KEY, stranger)
    add("forged: the domain's key shown, another signed", "the signature of the certificate is wrong", signer=stranger)
    add("expired", "has expired", start=-72)
    add("not yet valid", "not valid yet", start=24)
    add("too long-lived", "valid for longer than", days=365)
    add("of another domain", "", names=[x509.DNSName(other)])
    add("of two domains", "does not name exactly one domain", names=[x509.DNSName(domain), x509.DNSName(other)])
    add("of every domain", "does not name exactly one domain", names=[x509.DNSName(f"*.{domain}")])
    add("of nobody", "does not name exactly one domain", names=[])
    add("for addresses", "does not name exactly one domain", names=[x509.RFC822Name(f"alice@{domain}")])
    add("without name constraints", "not constrained to its domain", permitted=None)
    add("constrained to another domain", "not constrained to its domain", permitted=[x509.DNSName("evil.example")])
    add("of no authority", "not shown as an authority", ca=False)
    add("for signing code", "not meant for this side", purposes=[ExtendedKeyUsageOID.CODE_SIGNING])
    add("of a leaf alone", "a certificate that no domain key signed", only=slice(1))
    add("of another kind of key", "of another kind than", private=generate_private_key(SECP384R1()))
    add("too large", "too large", names=[x509.DNSName(f"{number}.{domain}") for number in range(500)])
    forger = Forger(authority, domain)
    leaf, shown = forger.chain()
    made["with an authority too many"] = context([leaf, shown, shown], forger.private), "a certificate that no domain key signed"
    return made


class Callers(Abused):
    """Dishonest peers that connect to us."""

    async def test_dishonest_certificates(self) -> None:
        self.listen({"echo": Echo()})
        for name, (shown, said) in forged("here.example", self.authority(self.here, "here.example")).items():
            self.there.refusals.clear()
            raw = await self.raw(TLS(shown))
            raw.wire.write(DIALECT + HELLO)
            await raw.ended
            refusal = await self.there.noted(said)
            self.assertEqual((refusal.reason, refusal.proved, refusal.by_peer), ("certificate", False, False), name)
            self.assertEqual(raw.heard[2], [b"error", 1, ANY], name)
            reply = dict((each[0][1], each[1]) for each in raw.heard[2][2][1:])
            self.assertEqual((reply[b"code"], reply[b"text"][1].decode()), (550, refusal.detail), name)
        self.assertEqual(self.listener._domains, {})

    async def test_no_certificate(self) -> None:
        self.listen()
        raw = await self.raw(TLS(context([], None)))
        await raw.ended
        await self.there.noted("the peer shows no certificate")
        self.assertEqual(raw.heard, [])

    async def test_older_tls(self) -> None:
        self.listen()
        raw = await self.raw(TLS(showing(self.here.certificates.of("here.example"), SSL.TLS1_2_VERSION)))
        await raw.ended
        await self.there.noted("TLS 1.3 is not spoken")

    async def test_no_tls_at_all(self) -> None:
        self.listen()
        for said in (b"GET / HTTP/1.1\r\nHost: there.example\r\n\r\n", b"EHLO here.example\r\n", DIALECT + HELLO, b"\xff" * 70000):
            self.there.refusals.clear()
            raw = await self.raw(None)
            raw.wire.write(said)
            await raw.ended
            self.assertEqual((await self.there.noted("this is not TLS")).reason, "tls")

    async def test_whoever_just_goes_is_no_event(self) -> None:
        self.listen()
        raw = await self.raw(None)
        while not self.listener.sessions:
            await self.turn()
        raw.wire.loseConnection()
        while self.listener.sessions:
            await self.turn()
        self.assertEqual(self.there.refusals, [])

    async def test_strangers_who_prove_nothing_do_not_keep_the_port_shut(self) -> None:
        self.listen({"echo": Echo()}, max_connections=8)
        channel = await self.connect()
        silent = [await self.raw(None) for _ in range(7)]
        while len(self.listener.sessions) < 8:
            await self.turn()
        raw = await self.greeted()  # in the place of the one that has been silent for longest
        await silent[0].ended
        self.assertEqual([each.over for each in silent], [True] + [False] * 6)
        self.assertEqual([refusal.reason for refusal in self.there.refusals], ["limit"])
        self.assertEqual(len(self.listener.sessions), 8)
        self.assertEqual((channel.closed, raw.over), (False, False))
        for _ in range(20):  # nor by coming again and again
            silent.append(await self.raw(None))
            await self.turn()
        self.assertEqual((channel.closed, raw.over), (False, False))
        self.assertLessEqual(len(self.listener.sessions), 8)
        for each in silent:
            if not each.over:
                each.wire.abortConnection()
            await each.ended
        while len(self.listener.sessions) > 2:
            await self.turn()
        self.assertEqual((self.listener._gate.count, self.listener._unproved.count), (2, 0))

    async def test_no_name_or_one_that_is_not_here(self) -> None:
        self.listen()
        for name in ("", "evil.example", "x" * 250):
            self.there.refusals.clear()
            tls = self.honest()
            tls.name = name
            await (await self.raw(tls)).ended
            await self.there.noted("no certificate for the domain")

    async def test_what_is_said_before_the_proof_is_not_looked_at(self) -> None:
        self.listen({"echo": Echo()})
        self.there.book.wait = Deferred()
        raw = await self.raw(self.honest())
        raw.wire.write(DIALECT + HELLO + message(2, b"echo", b"echo"))
        while not self.there.book.asked:
            await self.turn()
        self.assertEqual(raw.heard, [])
        self.there.book.wait.callback(None)
        await raw.hear(4)
        self.assertEqual([expression[0] for expression in raw.heard[2:]], [b"answer", b"answer"])

    async def test_a_flood_before_the_proof(self) -> None:
        self.listen()
        self.there.book.wait = Deferred()
        raw = await self.raw(self.honest())
        raw.wire.write(bytes(20_000_000))
        while not self.there.book.asked:
            await self.turn()
        for _ in range(50):
            await self.turn()
        arrival = next(iter(self.listener.sessions))
        self.assertLess(arrival.shaken.octets_read, broker.EARLY)
        self.there.book.wait.callback(None)
        await raw.ended
        await self.there.noted("a number is too long")
        self.assertEqual(len(self.there.refusals), 1)


class Speakers(Abused):
    """Peers with a good certificate that do not keep to the rules of PB."""

    limits = LinkLimits(calls=4, banana=BananaLimits())

    async def broken(self, said: bytes, why: str, before: bool = False) -> None:
        """``said`` ends the connection with a word, ``why``, on both sides."""
        self.there.refusals.clear()
        raw = await (self.raw(self.honest()) if before else self.greeted())
        count = len(raw.heard)
        raw.wire.write(said)
        await raw.ended
        refusal = await self.there.noted(why)
        self.assertEqual((refusal.reason, refusal.remote, refusal.proved), ("protocol", "here.example", True), why)
        if not before:
            self.assertEqual(raw.heard[-1][:4], [b"message", 0, b"root", b"goodbye"], why)
            self.assertIn(why.encode(), banana(raw.heard[-1]))
            self.assertGreater(len(raw.heard), count)

    async def test_abuse_of_banana(self) -> None:
        self.listen({"echo": Echo()}, self.limits)
        for said, why in (
            (b"\x01\x80" * 100000, "nested more than"),
            (b"\x7f" * 100000 + b"\x81", "a number is too long"),
            (b"\x01" * 200, "a number is too long"),
            (b"\x00\x00\x60\x72\x82", "a string is longer than"),  # 240 MB
            (b"\x7f\x7f\x7f\x7f\x7f\x7f\x80", "more than 8192 items"),
            (banana([[0] * 64] * 130), "more than 8192 items"),
            (banana([bytes(600000), bytes(600000)]), "an expression is longer than"),
            (b"\x01\x80\x00\x84" + bytes(8), "floats are not spoken"),
            (b"\x01\x88", "of no known kind"),
            (b"\x63\x87", "not in the vocabulary"),
            (b"\x81", "a token has no number"),
            (b"\x05\x81", "an expression is no list"),
            (b"\x02\x82pb", "an expression is no list"),
            (banana([]), "an expression is no list"),
        ):
            await self.broken(said, why)

    async def test_abuse_of_perspective_broker(self) -> None:
        self.listen({"echo": Echo()}, self.limits)
        cyclic = [b"reference", 1, [b"list", [b"dereference", 1]]]
        for said, why in (
            (banana([b"version", 6]), "no call and no answer"),
            (banana([b"decref", 1]), "no call and no answer"),
            (banana([b"cachemessage", 2, 1, b"x", 1, [b"tuple"], [b"dictionary"]]), "no call and no answer"),
            (banana([b"didNotUnderstand", b"x"]), "no call and no answer"),
            (banana([b"message", 2]), "a call has not six parts"),
            (banana([b"message", 2, b"echo", b"echo", 5, [b"tuple"], [b"dictionary"]]), "whether it wants an answer"),
            (banana([b"message", 2, b"echo", b"echo", 1, [b"tuple", 1], [b"dictionary"]]), "arguments without names"),
            (banana([b"message", [2], b"echo", b"echo", 1, [b"tuple"], [b"dictionary"]]), "a call has no number"),
            (banana([b"message", -2, b"echo", b"echo", 1, [b"tuple"], [b"dictionary"]]), "a call has no number"),
            (message(2, b"e" * 65, b"echo"), "the name of an object"),
            (message(2, b"\xff", b"echo"), "the name of an object"),
            (message(2, b"", b"echo"), "the name of an object"),
            (message(2, b"echo", b"echo", [b"list"]), "a dictionary was expected"),
            (message(2, b"echo", b"echo", [b"dictionary", 1]), "no pair"),
            (message(2, b"echo", b"echo", [b"dictionary", [1, 1]]), "no text"),
            (message(2, b"echo", b"echo", [b"dictionary", [[b"unicode", b"a" * 101], 1]]), "too long"),
            (message(2, b"echo", b"echo", fields(a=1) + fields(a=1)[1:]), "given twice"),
            (message(2, b"echo", b"echo", fields(a=[b"unicode", b"\xff"])), "not UTF-8"),
            (message(2, b"echo", b"echo", fields(a=2**64)), "longer than 64 bits"),
            (message(2, b"echo", b"echo", fields(a=cyclic)), "of a type that is not spoken"),
            (message(2, b"echo", b"echo", fields(a=[b"instance", [b"class", b"os.system"], [b"dictionary"]])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[b"function", b"os.system"])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[b"mailx.store.Store", [b"dictionary"]])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[b"remote", 1])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[b"set", 1])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[])), "of a type"),
            (message(2, b"echo", b"echo", fields(a=[[b"list"]])), "of a type"),
            (banana([b"answer", 7, [b"dictionary"]]), "an answer to no call"),
            (banana([b"error", 7, [b"dictionary"]]), "an answer to no call"),
            (message(2, b"root", b"hello"), "hello was said"),
            (message(0, b"echo", b"echo", answer=0), "no number of its own"),
            (message(0, b"root", b"ping", answer=0), "no number of its own"),
            (message(2, b"echo", b"wait") * 2, "no number of its own"),
            (b"".join(message(number, b"echo", b"wait") for number in range(2, 7)), "more than 4 calls at a time"),
        ):
            await self.broken(said, why)

    async def test_abuse_before_the_hello(self) -> None:
        self.listen({"echo": Echo()}, self.limits)
        for said, why in (
            (b"\x04\x82none", "another dialect"),
            (banana([b"pb"]), "another dialect"),
            (b"\x02\x82pb" + banana([b"version", 5]), "another version of PB"),
            (b"\x02\x82pb" + HELLO, "another version of PB"),
            (DIALECT + message(1, b"echo", b"echo"), "a call before the hello"),
            (DIALECT + message(1, b"root", b"hello", fields(a=bytes(40000))), "a string is longer than 32768"),
        ):
            await self.broken(said, why, before=True)

    async def test_hellos_that_lie(self) -> None:
        self.listen({"echo": Echo()}, self.limits)
        for given, code in (
            (fields(), 501),
            (fields(versions=[b"list", 2, 99]), 554),
            (fields(versions=[b"list", *range(65)]), 501),
            (fields(versions=[b"list", 1], calls=-1), 501),
            (fields(versions=[b"list", 1], capabilities=[b"list", *([b"unicode", b"x"] for _ in range(65))]), 501),
            (fields(versions=[b"list", 1], capabilities=[b"list", 1]), 501),
            (fields(versions=[b"list", 1], message_size=[b"unicode", b"1"]), 501),
        ):
            self.there.refusals.clear()
            raw = await self.raw(self.honest())
            raw.wire.write(DIALECT + message(1, b"root", b"hello", given))
            await raw.ended
            self.assertEqual(raw.heard[2][:2], [b"error", 1])
            self.assertIn(banana(code), banana(raw.heard[2]))
            self.assertEqual(self.there.refusals[0].reason, "version")

    async def test_unknown_objects_and_methods_are_answered(self) -> None:
        self.listen({"echo": Echo()}, self.limits)
        raw = await self.greeted()
        for number, (name, method) in enumerate(((b"root", b"x"), (b"x", b"x"), (b"echo", b"x"), (b"echo", b"__class__")), 2):
            raw.wire.write(message(number, name, method))
            await raw.hear(number + 2)
            self.assertEqual(raw.heard[-1][:2], [b"error", number])
            self.assertIn(banana(502), banana(raw.heard[-1]))


class Servers(Abused):
    """Dishonest servers that we connect to."""

    async def reached(self, tls: TLS | None, said: bytes | None, **more: Any) -> Unreachable:
        """What we say of a server that shows ``tls`` and says ``said``."""
        port, server = listening(self.reactor, tls)
        if said is not None:
            build = server.buildProtocol

            def speaking(addr: Any) -> Raw:
                raw: Raw = build(addr)
                raw.shaken.addCallback(lambda _: raw.wire.write(said))
                return raw

            server.buildProtocol = speaking  # type: ignore[method-assign]
        with self.assertRaises(Unreachable) as caught:
            channel = await self.connector(**more).connect("here.example", "there.example", [("127.0.0.1", port.getHost().port)])
            channel.abort()
        await port.stopListening()
        for raw in server.made:
            if not raw.over:
                await raw.ended
        self.server = server
        return caught.exception

    def setUp(self) -> None:
        super().setUp()
        self.good = TLS(showing(self.there.certificates.of("there.example")))

    async def test_dishonest_certificates(self) -> None:
        for name, (shown, said) in forged("there.example", self.authority(self.there, "there.example")).items():
            self.here.refusals.clear()
            unreachable = await self.reached(TLS(shown), b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 6]))
            self.assertIn(said or "of another domain", unreachable.reason, name)
            self.assertTrue(unreachable.security, name)
            self.assertEqual([refusal.reason for refusal in self.here.refusals], ["certificate"], name)
            goodbye = self.server.made[0].heard[-1]
            self.assertEqual(goodbye[:4], [b"message", 0, b"root", b"goodbye"], name)
            self.assertIn(self.here.refusals[0].detail.encode(), banana(goodbye))

    async def test_older_tls_and_none(self) -> None:
        old = TLS(showing(self.there.certificates.of("there.example"), SSL.TLS1_2_VERSION))
        for tls, why in ((old, "does not speak TLS 1.3"), (TLS(context([], None)), "does not speak TLS 1.3"), (None, "not TLS")):
            self.here.refusals.clear()
            said = b"220 mail.there.example ESMTP\r\n" if tls is None else None
            if tls is None:
                unreachable = await self.plain(said or b"")
            else:
                unreachable = await self.reached(tls, said)
            self.assertIn(why, unreachable.reason)
            self.assertEqual(([refusal.reason for refusal in self.here.refusals], unreachable.security), (["tls"], True))

    async def plain(self, said: bytes) -> Unreachable:
        port, server = listening(self.reactor, None)
        build = server.buildProtocol

        def speaking(addr: Any) -> Raw:
            raw: Raw = build(addr)
            raw.connectionMade = lambda: raw.wire.write(said)  # type: ignore[method-assign]
            return raw

        server.buildProtocol = speaking  # type: ignore[method-assign]
        with self.assertRaises(Unreachable) as caught:
            await self.connector().connect("here.example", "there.example", [("127.0.0.1", port.getHost().port)])
        await port.stopListening()
        for raw in server.made:
            if not raw.over:
                await raw.ended
        return caught.exception

    async def test_abuse_of_pb(self) -> None:
        opening = b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 6])
        for said in (
            b"\x01\x80\x04\x82none",
            b"\x02\x82pb",
            b"\x01\x80" * 1000,
            b"\x00\x00\x60\x72\x82" + bytes(1000),
            opening + message(1, b"root", b"hello"),
            opening + banana([b"answer", 2, [b"dictionary"]]),
            opening + banana([b"answer", 1, [b"list"]]),
            opening + banana([b"answer", 1, fields(a=[b"instance", b"x"])]),
            b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 7]),
        ):
            self.here.refusals.clear()
            unreachable = await self.reached(self.good, said)
            self.assertIn("no hello: ", unreachable.reason, said)
            self.assertEqual([refusal.reason for refusal in self.here.refusals], ["protocol"], said)

    async def test_hellos_that_lie(self) -> None:
        opening = b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 6])
        for given in (fields(), fields(version=99), fields(version=1, calls=2**40), fields(version=1, capabilities=[b"list", 1])):
            self.here.refusals.clear()
            unreachable = await self.reached(self.good, opening + banana([b"answer", 1, given]))
            self.assertIn("its hello is refused", unreachable.reason)
            self.assertEqual([refusal.reason for refusal in self.here.refusals], ["version"])

    async def test_refusals_that_are_no_refusals(self) -> None:
        opening = b"\x02\x80\x02\x82pb\x04\x82none" + banana([b"version", 6])
        for given, told in (
            (fields(), "451 4.5.0 The answer of the other server is not clear"),
            (fields(code=250, enhanced=[b"unicode", b"2.0.0"], text=[b"unicode", b"fine"]), "451 4.5.0 "),
            (fields(code=550, enhanced=[b"unicode", b"4.0.0"], text=[b"unicode", b"no\r\n\x1b[2J"]), "550 5.0.0 no???[2J"),
            (fields(code=450, enhanced=[b"unicode", b"4.7.1"], text=[b"unicode", b"x" * 9000]), "450 4.7.1 " + "x" * 300),
        ):
            unreachable = await self.reached(self.good, opening + banana([b"error", 1, given]))
            self.assertTrue(str(unreachable.reply).startswith(told), unreachable.reply)
