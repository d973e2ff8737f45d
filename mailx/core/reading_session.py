"""One client's session of a protocol by which people read their mail: what IMAP and POP3 sessions have alike. Nothing here waits."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from mailx.core.access import Access
from mailx.core.input import Input
from mailx.core.users import User
from mailx.mail.envelope import Origin

OVER = "logout"  # the state in which a session ends


class Peer(Protocol):
    """The client as commands see it: octets to and fro."""

    input: Input

    @property
    def secure(self) -> bool:
        """Whether TLS is active."""

    @property
    def can_start_tls(self) -> bool: ...

    def write(self, data: bytes) -> None:
        """Send at the next ``flush`` or ``ready``, or when the session waits for its client; never waits."""

    async def ready(self) -> None:
        """Wait until the client takes more, and let other sessions have their turn; raises Hangup."""

    def patience(self, seconds: float) -> None:
        """End the session unless ``patience`` or ``no_deadline`` is called again in time."""

    def no_deadline(self) -> None: ...

    def start_tls(self) -> None: ...

    def bindings(self) -> Mapping[str, bytes]:
        """Channel bindings of the TLS connection (RFC 5929, RFC 9266)."""


class Settings(Protocol):
    """The settings of such a protocol that a session asks for."""

    @property
    def plaintext_login(self) -> bool: ...


class Services(Protocol):
    """What every session of a server shares."""

    @property
    def settings(self) -> Settings: ...

    @property
    def access(self) -> Access: ...


class ReadingSession(ABC):
    """Who is there, from where, and how far a response has got."""

    def __init__(self, services: Services, peer: Peer, origin: Origin, state: str) -> None:
        self.services = services
        self.peer = peer
        self.origin = origin
        self.state = state
        self.user: User | None = None
        self.failures = 0  # failed logins
        self.inside_response = False  # part of a response is written: an error could only end the connection

    @property
    def may_log_in(self) -> bool:
        """Whether passwords may be sent: under TLS, or where the owner allows them in the clear."""
        return self.peer.secure or self.services.settings.plaintext_login

    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms on offer: none before TLS."""
        return self.services.access.mechanisms(self.peer.secure, True) if self.may_log_in else ()

    @property
    def who(self) -> dict[str, str]:
        """The session in a line of the log."""
        return {"connection_id": self.origin.connection, "session_id": self.origin.connection, "client_ip": self.origin.address}

    @abstractmethod
    def leave(self) -> None:
        """End the session; may be called again."""
