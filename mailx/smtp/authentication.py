"""AUTH (RFC 4954): the dialogue around one SASL exchange.

The exchange itself, its verdict and its throttling are the core's (:mod:`mailx.core.sasl`). Every failure becomes
a reply; ``Malformed`` input and a cancelled exchange are told apart from refused credentials.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.logger import Logger

from mailx.core.sasl import Exchange, LoginRefused, Malformed
from mailx.core.users import User
from mailx.mail.envelope import Origin
from mailx.smtp import replies

log = Logger()


class Access(Protocol):
    """What AUTH needs of :class:`mailx.core.access.Access`."""

    def mechanisms(self, tls: bool, plaintext: bool) -> tuple[str, ...]: ...

    def begin(self, mechanism: str, origin: Origin, bindings: Mapping[str, bytes]) -> Exchange: ...

    def on_revocation(self, call: Callable[[int], None]) -> None: ...

    def hold(self, user: User) -> None: ...

    def release(self, user: User) -> None: ...


class Dialogue:
    """One AUTH command from its first word to its verdict. ``user`` is set once it succeeded."""

    def __init__(self, exchange: Exchange, mechanism: str, origin: Origin) -> None:
        self.user: User | None = None
        self.over = False
        self.outcome = "refused"  # for the counter: ok, refused, throttled, unavailable
        self._exchange = exchange
        self._mechanism = mechanism
        self._origin = origin

    async def begin(self, initial: bytes | None) -> bytes:
        """The first reply. ``initial`` is the initial response as it stands in the command; ``=`` is an empty one."""
        if initial is None:
            return _challenge(self._exchange.first())
        return await self.respond(b"" if initial == b"=" else initial)

    async def respond(self, line: bytes) -> bytes:
        """The reply to one response line."""
        if line == b"*":
            self.over = True
            return replies.AUTH_CANCELLED
        try:
            result = await self._exchange.step(b64decode(line, validate=True))
        except (Base64Error, Malformed):
            self.over = True
            return replies.AUTH_SYNTAX
        except LoginRefused as refused:
            self.over = True
            self.outcome = refused.outcome
            self._log_failure("454" if refused.temporary else "535")
            return replies.AUTH_LATER if refused.temporary else replies.AUTH_FAILED
        except BaseException:
            self.over = True
            raise
        if isinstance(result, bytes):
            return _challenge(result)
        self.over = True
        self.user = result
        self.outcome = "ok"
        log.info(
            "SMTP authentication successful",
            event="smtp.authenticated",
            connection_id=self._origin.connection,
            username=str(result.address),
            auth_method=self._mechanism,
            client_ip=self._origin.address,
        )
        return replies.AUTHENTICATED

    def _log_failure(self, code: str) -> None:
        log.warn(
            "SMTP authentication failed",
            event="smtp.authentication_failed",
            connection_id=self._origin.connection,
            auth_method=self._mechanism,
            error_code=code,
            client_ip=self._origin.address,
        )


def _challenge(challenge: bytes) -> bytes:
    return b"334 " + b64encode(challenge) + b"\r\n"
