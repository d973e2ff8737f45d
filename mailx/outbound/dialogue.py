"""How a session begins: greeting, EHLO or HELO, STARTTLS, what was announced, login. Failure is ``Unreachable``.

Nothing said before TLS counts after it (RFC 3207 4.2), and a login is never sent unencrypted unless the relay was configured so.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from twisted.logger import Logger

from mailx.core import courier
from mailx.core.probing import repeats
from mailx.mail.reply import Reply
from mailx.outbound import sasl
from mailx.outbound.answers import Answer, clean
from mailx.outbound.dane import usable
from mailx.outbound.hop import (
    DANE,
    ENCRYPT,
    NONE,
    OPPORTUNISTIC,
    STARTTLS_NOT_SUPPORTED,
    VALIDATION_FAILURE,
    VERIFY,
    Hop,
    Login,
    Security,
    Unreachable,
)
from mailx.outbound.tls import Contexts, verdict
from mailx.outbound.wire import Broken, Wire

log = Logger()

GREETING_TIME = 300.0  # seconds, RFC 5321 4.5.3.2.1
HELLO_TIME = 300.0  # as MAIL has
TLS_TIME = 60.0
LOGIN_TIME = 120.0
LOGIN_STEPS = 6  # challenges of one login; SCRAM has two

NO_TLS = Reply(451, "4.7.4", "The server does not offer TLS, which is required")
NO_LOGIN = Reply(454, "4.7.0", "The relay offers no way to log in that can be used")
UNENCRYPTED_LOGIN = Reply(454, "4.7.0", "The relay does not offer TLS, without which no password is sent")
TLS_FAILED = Reply(451, "4.7.5", "TLS could not be begun")
_UNTRUSTED = "The server's certificate is not acceptable: {failure}"
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*\Z")


@frozen
class Opened:
    """A session that is ready for messages."""

    hop: Hop
    extensions: Mapping[str, str]
    security: str  # of mailx.core.courier
    tls: str = ""
    starttls: bool = False  # STARTTLS was announced
    tls_failure: str = ""


@frozen
class Opening:
    """What is needed to begin a session with ``hop``."""

    hop: Hop
    security: Security
    login: Login | None
    hostname: str  # ours
    contexts: Contexts = field(repr=False)
    threads: sasl.Threads = field(repr=False)

    async def open(self, wire: Wire) -> Opened:
        """Say everything that comes before MAIL; raises Unreachable, after which the wire is of use for a goodbye at most."""
        try:
            return await self._open(wire)
        except Broken as broken:
            wire.abort()
            raise Unreachable(broken.reply, str(self.hop)) from None
        except Exception as error:
            if not isinstance(error, Unreachable):
                wire.abort()
            raise

    async def _open(self, wire: Wire) -> Opened:
        """TLS as it must be, greeting and EHLO in the order of the port, then login."""
        tls, failure, verified, announced = "", "", courier.PLAIN, self.hop.implicit_tls
        if self.hop.implicit_tls:
            tls, failure, verified = await self._encrypt(wire)
        (greeting,) = await wire.ask(b"", 1, GREETING_TIME)
        if greeting.code != 220:
            raise self._refused(greeting, verified, tls)
        extensions = await self._hello(wire)
        if not tls and self.security.level != NONE:
            announced = "STARTTLS" in extensions
            if announced and await self._may_begin(wire):
                tls, failure, verified = await self._encrypt(wire)
                extensions = await self._hello(wire)  # RFC 3207 4.2
            elif self.security.level != OPPORTUNISTIC:
                raise Unreachable(NO_TLS, str(self.hop), STARTTLS_NOT_SUPPORTED, courier.PLAIN)
        if self.login is not None:
            if not tls and self.security.level != NONE:
                raise Unreachable(UNENCRYPTED_LOGIN, str(self.hop), STARTTLS_NOT_SUPPORTED, courier.PLAIN)
            refusal = await self._log_in(wire, self.login, extensions)
            if refusal is not None:
                raise Unreachable(refusal, str(self.hop), "", verified, tls)
        wire.rest()
        return Opened(self.hop, extensions, verified, tls, announced, failure)

    def _refused(self, answer: Answer, security: str = "", tls: str = "") -> Unreachable:
        reply = Reply(451, "4.5.0", f"Answer out of place: {answer.code}") if answer.good else answer.reply()
        return Unreachable(reply, str(self.hop), "", security, tls)

    async def _hello(self, wire: Wire) -> dict[str, str]:
        (answer,) = await wire.ask(f"EHLO {self.hostname}\r\n".encode("ascii"), 1, HELLO_TIME)
        if answer.good:
            return announced(answer)
        if answer.code < 500:
            raise self._refused(answer)
        (answer,) = await wire.ask(f"HELO {self.hostname}\r\n".encode("ascii"), 1, HELLO_TIME)  # RFC 5321 3.2
        if not answer.good:
            raise self._refused(answer)
        return {}

    async def _may_begin(self, wire: Wire) -> bool:
        """Whether the server begins TLS as it announced."""
        (answer,) = await wire.ask(b"STARTTLS\r\n", 1, HELLO_TIME)
        if wire.closing:
            raise self._refused(answer)
        return answer.code == 220

    async def _encrypt(self, wire: Wire) -> tuple[str, str, str]:
        """The handshake: what it agreed on, what is wrong with the certificate, and what that makes of security; raises Unreachable."""
        security = self.security
        if security.level == DANE and not usable(security.tlsa):
            security = Security(ENCRYPT, security.names, verify=security.verify)
        try:
            await wire.start_tls(self.contexts.creator(self.hop, security), TLS_TIME)
        except Broken:
            raise Unreachable(TLS_FAILED, str(self.hop), VALIDATION_FAILURE, courier.PLAIN) from None
        connection: Any = wire.transport.getHandle()
        tls = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
        if security.level not in (VERIFY, DANE) and not security.verify:
            return tls, "", courier.ENCRYPTED
        failure = verdict(connection, self.hop, security)
        if not failure:
            return tls, "", courier.DANE if security.level == DANE else courier.VERIFIED
        if security.level in (VERIFY, DANE):
            reply = Reply(451, "4.7.5", _UNTRUSTED.format(failure=failure))
            raise Unreachable(reply, str(self.hop), failure, courier.ENCRYPTED, tls)
        return tls, failure, courier.ENCRYPTED

    async def _log_in(self, wire: Wire, login: Login, extensions: Mapping[str, str]) -> Reply | None:
        """Log in by the first mechanism that works; why none did. What the server says is its route's trouble, never the message's."""
        refusal = NO_LOGIN
        said: list[str] = [login.password]
        for name in sasl.choices(login, extensions.get("AUTH", "")):
            try:
                answer = await self._exchange(wire, name, login, said)
            except sasl.SASLError as error:
                refusal = Reply(454, "4.7.0", f"Login at the relay failed: {error}")
                break
            if answer.good:
                return None
            reply = answer.reply()
            if repeats(reply.text, said):
                reply = Reply(reply.code, reply.enhanced, "")
            refusal = Reply(454, "4.7.0", clean(f"The relay refused the login: {reply}"))
            if answer.code not in (504, 534) or wire.closing:  # another mechanism may do
                break
        log.warn("Login at a relay failed: {reason}", event="outbound.login_failed", host=str(self.hop), reason=str(refusal))
        return refusal

    async def _exchange(self, wire: Wire, name: str, login: Login, said: list[str]) -> Answer:
        """One login by the mechanism ``name``; what goes to the server is added to ``said``."""
        mechanism = sasl.MECHANISMS[name](login, self.threads)
        line = f"AUTH {name}".encode("ascii")
        if mechanism.initial is not None:
            line += b" " + (b64encode(mechanism.initial) or b"=")
            said.append(b64encode(mechanism.initial).decode("ascii"))
        (answer,) = await wire.ask(line + b"\r\n", 1, LOGIN_TIME)
        for _ in range(LOGIN_STEPS):
            if answer.code != 334:
                break
            try:
                response = await mechanism.respond(sasl.challenge(answer.lines[-1]))
            except sasl.SASLError:
                await wire.ask(b"*\r\n", 1, LOGIN_TIME)  # RFC 4954 4: cancel
                raise
            said.append(b64encode(response).decode("ascii"))
            (answer,) = await wire.ask(b64encode(response) + b"\r\n", 1, LOGIN_TIME)
        if answer.code == 235:
            mechanism.finish()
        elif answer.good:
            raise sasl.SASLError("an answer that AUTH does not have")
        return answer


def announced(answer: Answer) -> dict[str, str]:
    """The extensions in an answer to EHLO, by keyword in capitals."""
    extensions: dict[str, str] = {}
    for line in answer.lines[1:]:
        keyword, _, parameters = clean(line.decode("utf-8", "replace")).partition(" ")
        if keyword[:5].upper() == "AUTH=":  # as servers wrote it before RFC 2554
            parameters, keyword = f"{keyword[5:]} {parameters}", "AUTH"
        if _KEYWORD.match(keyword):
            extensions.setdefault(keyword.upper(), parameters.strip())
    return extensions
