"""What the SMTP client is told: which server, what TLS must be there, with which login; and how it says that it got nowhere.

Values only. ``Unreachable`` is the one failure of making a connection: nothing of any message has gone to the server.
"""

from attrs import field, frozen

from mailx.core.courier import Attempt
from mailx.core.resolver import TLSA as TLSA
from mailx.mail.reply import Reply

NONE = "none"  # Security.level: never TLS
OPPORTUNISTIC = "opportunistic"  # TLS with whoever answers, where the server announces it and it works; else none
ENCRYPT = "encrypt"  # TLS with whoever answers, or no mail
VERIFY = "verify"  # TLS with a certificate of a known authority for one of Security.names, or no mail
DANE = "dane"  # TLS with a certificate that one of Security.tlsa vouches for, or no mail

# Unreachable.tls_failure and Connection.tls_failure: the result types of RFC 8460 4.3.
STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
HOST_MISMATCH = "certificate-host-mismatch"
EXPIRED = "certificate-expired"
NOT_TRUSTED = "certificate-not-trusted"
VALIDATION_FAILURE = "validation-failure"  # anything else: the handshake broke, no TLSA record fits, ...


@frozen
class Hop:
    """One server to talk to."""

    name: str  # its host name in A-labels; for TLS and logs. Of a server given by address only, the address
    address: str  # its IP address
    port: int
    implicit_tls: bool = False  # TLS from the first octet (RFC 8314 3.3)

    def __str__(self) -> str:
        return f"{self.name} [{self.address}]:{self.port}"


@frozen
class Security:
    """What TLS must be.

    ``names`` are the host names (or IP addresses) of which the certificate must have one; the first is the server name asked
    for (SNI). Empty: the name of the hop. With ``verify`` the certificate is checked at levels that do not need it too, and what
    is wrong with it only told (``Connection.tls_failure``): a policy that is being tested, RFC 8461 5.
    At level DANE ``tlsa`` holds the secure TLSA records, all of them; if none is usable, the level is ENCRYPT (RFC 7672 2.2.1).
    """

    level: str = OPPORTUNISTIC
    names: tuple[str, ...] = ()
    tlsa: tuple[TLSA, ...] = ()
    verify: bool = False


@frozen
class Login:
    """Who we are at a smart host; ``mechanism`` empty: the strongest that both know.

    It is never sent without TLS, unless Security.level is NONE: then the relay was configured so.
    """

    username: str
    password: str = field(repr=False)
    mechanism: str = ""


class Unreachable(Exception):
    """No usable session with a server came about; no message was sent.

    ``reply`` is 4xx or 5xx and safe to show: the server's own, or ours when it said nothing; ``host`` is empty if nobody was reached.
    ``tls_failure`` is set when TLS was the reason; ``ours`` when something was wanting here, which says nothing of the server.
    """

    def __init__(self, reply: Reply, host: str = "", tls_failure: str = "", security: str = "", tls: str = "", ours: bool = False) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.host = host
        self.tls_failure = tls_failure
        self.security = security
        self.tls = tls
        self.ours = ours

    def attempt(self) -> Attempt:
        """What it means for each recipient when no other server is left to try."""
        return Attempt(self.reply, self.host, self.security, self.tls, unreachable=not self.ours)
