"""Logins: every mechanism against what a server computes, and servers that must not be believed."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core import scram
from mailx.outbound import sasl
from mailx.outbound.hop import ENCRYPT, NONE, Hop, Login, Security, Unreachable
from tests.outbound.authorities import served
from tests.outbound.peers import ADA, EHLO, Outgoing, Sink, Sinks, envelope, listen, pool

LOGIN = Login("relay=user,1", "pass word")
SALT = b"0123456789abcdef"


def threads(call: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
    return succeed(call(*arguments))


class Mechanisms(SynchronousTestCase):
    def run_now(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def refused(self, coroutine: Any) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(coroutine), sasl.SASLError).value)

    def test_cram_md5(self) -> None:
        """The example of RFC 2195 2."""
        mechanism = sasl.CramMD5(Login("tim", "tanstaaftanstaaf"), threads)
        answer = self.run_now(mechanism.respond(b"<1896.697170952@postoffice.reston.mci.net>"))
        self.assertEqual(answer, b"tim b913a602c7eda7a495b4e6e7334d3890")
        self.refused(mechanism.respond(b"<again>"))

    def test_plain(self) -> None:
        mechanism = sasl.Plain(LOGIN, threads)
        self.assertEqual(mechanism.initial, b"\0relay=user,1\0pass word")
        self.refused(mechanism.respond(b""))
        self.assertRaises(sasl.SASLError, sasl.Plain, Login("me", "a\0b"), threads)

    def test_login(self) -> None:
        mechanism = sasl.LoginMechanism(LOGIN, threads)
        self.assertEqual([self.run_now(mechanism.respond(b"x")) for _ in range(2)], [b"relay=user,1", b"pass word"])
        self.refused(mechanism.respond(b"Again:"))

    def test_scram_example(self) -> None:
        """The exchange of RFC 7677 3."""
        mechanism = sasl.ScramSHA256(Login("user", "pencil"), threads, nonce="rOprNGfwEbeRWgbNEkqO")
        self.assertEqual(mechanism.initial, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        self.assertEqual(
            self.run_now(mechanism.respond(first)),
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        self.assertRaises(sasl.SASLError, mechanism.finish)  # not yet proved
        self.assertEqual(self.run_now(mechanism.respond(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")), b"")
        mechanism.finish()

    def test_scram_is_ours(self) -> None:
        """Our own server's side agrees, escaped names included."""
        mechanism = sasl.ScramSHA256(LOGIN, threads)
        assert mechanism.initial is not None
        first = scram.parse_first(mechanism.initial, False, {})
        self.assertEqual(first.name, LOGIN.username)
        keys = scram.derive(LOGIN.password.encode(), SALT, 4096)
        nonce = first.nonce + b"server"
        challenge = scram.server_first(nonce, keys)
        final = scram.verify_final(self.run_now(mechanism.respond(challenge)), first, challenge, nonce, b"", keys)
        assert final is not None
        self.run_now(mechanism.respond(final))
        mechanism.finish()

    def test_scram_lies(self) -> None:
        """A server that does not know the password, or asks for too much or too little work."""

        def begun() -> sasl.ScramSHA256:
            return sasl.ScramSHA256(Login("user", "pencil"), threads, nonce="abc")

        for challenge in (
            b"",
            b"r=abc,s=MDEy,i=4096",  # no nonce of its own
            b"r=xyzabc,s=MDEy,i=4096",
            b"r=abcd,s=MDEy,i=4095",
            b"r=abcd,s=MDEy,i=1",
            b"r=abcd,s=MDEy,i=0",
            b"r=abcd,s=MDEy,i=99999999",
            b"r=abcd,s=MDEy,i=999999999999",
            b"r=abcd,s=!,i=4096",
            b"m=x,r=abcd,s=MDEy,i=4096",
        ):
            self.refused(begun().respond(challenge))
        for final in (b"v=", b"v=AAAA", b"e=other-error", b"x"):
            mechanism = begun()
            self.run_now(mechanism.respond(b"r=abcd,s=MDEy,i=4096"))
            self.refused(mechanism.respond(final))
            self.assertRaises(sasl.SASLError, mechanism.finish)

    def test_choices(self) -> None:
        self.assertEqual(sasl.choices(LOGIN, "login plain CRAM-MD5 XOAUTH2 scram-sha-256"), ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"])
        self.assertEqual(sasl.choices(Login("a", "b", "LOGIN"), "LOGIN PLAIN"), ["LOGIN"])
        self.assertEqual(sasl.choices(Login("a", "b", "CRAM-MD5"), "LOGIN PLAIN"), [])

    def test_passwords_do_not_show(self) -> None:
        self.assertNotIn("pass word", repr(LOGIN))


class Guard:
    """The server's side of AUTH in a scripted server."""

    def __init__(self, password: bytes = b"pass word", signature: bool = True, answer: bytes = b"535 5.7.8 Wrong") -> None:
        self.password = password
        self.signature = signature
        self.answer = answer
        self.passwords: list[bytes] = []

    def __call__(self, session: Sink) -> bytes:
        _, mechanism, *initial = session.factory.lines[-1].split()
        steps = self.scram() if mechanism == "SCRAM-SHA-256" else self.words(mechanism)
        next(steps)
        said = steps.send(b64decode(initial[0])) if initial else steps.send(b"")

        original = session.command

        def command(line: str) -> None:
            reply = steps.send(b"*" if line == "*" else b64decode(line))
            session.transport.write(reply + b"\r\n")
            if not reply.startswith(b"334"):
                session.command = original  # type: ignore[method-assign]

        if said.startswith(b"334"):
            session.command = command  # type: ignore[method-assign]
        return said

    def verdict(self, good: bool) -> bytes:
        return b"235 2.7.0 Welcome" if good else self.answer

    def words(self, mechanism: str) -> Any:
        said = yield b""
        if mechanism == "PLAIN":
            self.passwords.append(said.split(b"\0")[2])
            yield self.verdict(self.passwords[-1] == self.password)
        elif mechanism == "LOGIN":
            yield b"334 VXNlcm5hbWU6"
            self.passwords.append((yield b"334 UGFzc3dvcmQ6"))
            yield self.verdict(self.passwords[-1] == self.password)
        else:
            said = yield b"334 " + b64encode(b"<1@relay>")
            yield self.verdict(len(said.split()[-1]) == 32)

    def scram(self) -> Any:
        said = yield b""
        keys = scram.derive(self.password, SALT, 4096)
        first = scram.parse_first(said, False, {})
        nonce = first.nonce + b"server"
        challenge = scram.server_first(nonce, keys)
        said = yield b"334 " + b64encode(challenge)
        final = scram.verify_final(said, first, challenge, nonce, b"", keys)
        if final is None:
            yield self.answer
            return
        if self.signature:
            yield b"334 " + b64encode(final)
        yield b"235 2.7.0 Welcome"


class Sessions(TestCase):
    """Whole logins over sockets."""

    async def login(self, sinks: Sinks, login: Login, level: str = NONE) -> str:
        """The reply that the login failed with, or ""."""
        connections = pool(self)
        hop = Hop("relay.example", "127.0.0.1", listen(self, sinks))
        try:
            connection = await connections.connection("k", hop, Security(level), login, 5.0)
        except Unreachable as unreachable:
            self.assertTrue(unreachable.reply.temporary)
            self.assertNotIn("pass word", str(unreachable.reply))
            return str(unreachable.reply)
        found = await connection.send(envelope(), (ADA,), Outgoing())
        self.assertTrue(found[ADA].reply.done)
        return ""

    def sinks(self, guard: Guard, mechanisms: bytes, *script: tuple[str, Any]) -> Sinks:
        return Sinks([*script, ("AUTH", guard)], EHLO.replace(b"250-PIPELINING", b"250-AUTH " + mechanisms + b"\r\n250-PIPELINING"))

    async def test_every_mechanism(self) -> None:
        for mechanism in sasl.MECHANISMS:
            sinks = self.sinks(Guard(), mechanism.encode())
            self.assertEqual(await self.login(sinks, LOGIN), "")
            self.assertTrue(any(line.startswith(f"AUTH {mechanism}") for line in sinks.lines))

    async def test_the_strongest(self) -> None:
        guard = Guard()
        self.assertEqual(await self.login(self.sinks(guard, b"PLAIN LOGIN SCRAM-SHA-256"), LOGIN), "")
        self.assertEqual(guard.passwords, [])

    async def test_old_syntax(self) -> None:
        sinks = Sinks([("AUTH", Guard())], EHLO.replace(b"250-PIPELINING", b"250-AUTH=LOGIN PLAIN\r\n250-PIPELINING"))
        self.assertEqual(await self.login(sinks, LOGIN), "")

    async def test_wrong_password(self) -> None:
        for mechanism in ("SCRAM-SHA-256", "PLAIN", "LOGIN"):
            failure = await self.login(self.sinks(Guard(b"another"), mechanism.encode()), LOGIN)
            self.assertEqual(failure, "454 4.7.0 The relay refused the login: 535 5.7.8 Wrong")

    async def test_another_mechanism_may_do(self) -> None:
        sinks = self.sinks(Guard(), b"CRAM-MD5 PLAIN", ("AUTH CRAM-MD5", b"504 5.5.4 Not really"))
        self.assertEqual(await self.login(sinks, LOGIN), "")

    async def test_a_server_without_signature(self) -> None:
        """It says yes and has not proved that it knows the password."""
        failure = await self.login(self.sinks(Guard(signature=False), b"SCRAM-SHA-256"), LOGIN)
        self.assertIn("did not prove", failure)

    async def test_what_it_repeats_of_the_login(self) -> None:
        """The reply goes into the log and to the sender: what we said stays out of it."""
        for mechanism in (b"PLAIN", b"LOGIN"):
            for repeat in (
                lambda said: said,
                lambda said: said[:20],
                lambda said: said.upper(),
                lambda said: repr(b64decode(said.split()[-1])),
            ):
                guard = Guard()
                guard.password = b"another"

                def echo(session: Any, guard: Guard = guard, repeat: Any = repeat, mechanism: bytes = mechanism) -> bytes:
                    said = session.factory.lines[-1] if mechanism == b"PLAIN" else b64encode(b"pass word").decode()
                    guard.answer = f"501 5.5.2 What is {repeat(said)}?".encode()
                    return guard(session)

                sinks = self.sinks(guard, mechanism)
                sinks.script[-1] = ("AUTH", echo)
                self.assertEqual(await self.login(sinks, LOGIN), "454 4.7.0 The relay refused the login: 501 5.5.2")

    async def test_challenges_without_end(self) -> None:
        for mechanism in sasl.MECHANISMS:
            sinks = self.sinks(Guard(), mechanism.encode(), ("AUTH", b"334 eA=="))
            failure = await self.login(sinks, LOGIN)
            self.assertTrue(failure.startswith("454 4.7.0 "), failure)

    async def test_not_base64(self) -> None:
        self.assertIn("not base64", await self.login(self.sinks(Guard(), b"LOGIN", ("AUTH", b"334 %%%")), LOGIN))

    async def test_odd_yes(self) -> None:
        self.assertTrue(await self.login(self.sinks(Guard(), b"PLAIN", ("AUTH", b"250 2.0.0 Ok")), LOGIN))

    async def test_nothing_in_common(self) -> None:
        for login in (LOGIN, Login("a", "b", "SCRAM-SHA-256")):
            self.assertIn("no way to log in", await self.login(self.sinks(Guard(), b"XOAUTH2 GSSAPI"), login))
        self.assertIn("no way to log in", await self.login(Sinks(), LOGIN))

    async def test_never_in_the_clear(self) -> None:
        """Without TLS no login is tried, whatever the server offers and whoever took STARTTLS away."""
        guard = Guard()
        for level in ("opportunistic", "encrypt", "verify"):
            sinks = self.sinks(guard, b"PLAIN")
            self.assertIn("TLS", await self.login(sinks, LOGIN, level))
            self.assertNotIn("AUTH", sinks.verbs())
        self.assertEqual(guard.passwords, [])

    async def test_inside_tls(self) -> None:
        guard = Guard()
        sinks = Sinks(
            [("AUTH", guard)],
            EHLO.replace(b"250-PIPELINING", b"250-STARTTLS\r\n250-PIPELINING"),
            served("relay.example").options(),
            ehlo_tls=EHLO.replace(b"250-PIPELINING", b"250-AUTH PLAIN\r\n250-PIPELINING"),
        )
        self.assertEqual(await self.login(sinks, LOGIN, ENCRYPT), "")
        self.assertEqual(guard.passwords, [b"pass word"])
