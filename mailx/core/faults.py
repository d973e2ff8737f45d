"""How trying another server out may fail: each way with its words for administrators, whatever the protocol.

``Fault`` is raised within a probe only; outside it is a :class:`mailx.core.probing.Probe` that says no.
"""

from collections.abc import Mapping
from types import MappingProxyType

# How a probe may fail.
NO_NAME = "no name"
NO_DNS = "no dns"
REFUSED = "refused"
UNREACHABLE = "unreachable"
TIMEOUT = "timeout"
SILENT = "silent"
SLOW = "slow"
CLOSED = "closed"
FLOOD = "flood"
BABBLE = "babble"
NOT_WELCOME = "not welcome"
TLS_PORT = "tls port"
PLAIN_PORT = "plain port"
TLS_BROKEN = "tls broken"
NO_STARTTLS = "no starttls"
CERTIFICATE = "certificate"
NO_AUTH = "no auth"
AUTH_NEEDS_TLS = "auth needs tls"
NO_MECHANISM = "no mechanism"
WRONG_PASSWORD = "wrong password"
LOGIN_REFUSED = "login refused"
WRONG_CREDENTIALS = "credentials"
LOGIN_WANTED = "login wanted"
SENDER = "sender"
RELAY_DENIED = "relay denied"
RECIPIENT = "recipient"
CONTENT = "content"
LATER = "later"

# What is said of each: a summary and a remedy, with {host}, {port} and {said} (the server's own words, or what was found).
ADVICE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        NO_NAME: (
            "The name {host} does not exist, or has no address.",
            "Check the spelling of the host. Its provider tells the right name.",
        ),
        NO_DNS: (
            "The name {host} cannot be looked up now.",
            "Check that the name servers of this machine answer ([dns] servers), then try again.",
        ),
        REFUSED: (
            "{host} refuses connections to port {port}.",
            "Nothing listens there, or a firewall says no. Check the port; usual are 587, 465 and 25 to send mail, 143, 993, 110 and"
            " 995 to read it.",
        ),
        UNREACHABLE: (
            "{host} cannot be reached on port {port}: {said}.",
            "Check the address, and the network and firewall of this machine.",
        ),
        TIMEOUT: (
            "{host} does not answer on port {port}.",
            "A firewall between drops the connection, or the port is wrong. Many networks block port 25: use 587 or 465.",
        ),
        SILENT: (
            "{host} takes the connection to port {port} and says nothing.",
            "Check the port and the security: a port for TLS waits for us to begin.",
        ),
        SLOW: ("{host} stopped answering.", "Try again; if it stays so, raise the time limit or ask its operator."),
        CLOSED: (
            "{host} closed the connection.",
            "Its log tells why: often this machine's address is blocked there, or has too many connections.",
        ),
        FLOOD: ("{host} says more than any mail server would.", "Check that host and port are those of a mail server."),
        BABBLE: ("What {host} says on port {port} is another protocol.", "Check the port: something else listens there."),
        NOT_WELCOME: (
            "{host} does not take connections from here: {said}",
            "Its operator must allow the address of this machine, or try again later.",
        ),
        TLS_PORT: (
            "Port {port} of {host} speaks TLS from the first octet.",
            "Choose TLS in place of plain or STARTTLS, or the port for STARTTLS.",
        ),
        PLAIN_PORT: ("Port {port} of {host} does not begin with TLS.", "Choose STARTTLS (or plain), or the port for TLS: 465, 993 or 995."),
        TLS_BROKEN: ("TLS with {host} cannot be begun.", "The server must offer TLS 1.2 or 1.3; its operator can bring it up to date."),
        NO_STARTTLS: (
            "{host} does not offer STARTTLS on port {port}.",
            "Try the port for TLS. If the server is on this machine or a private network, plain will do; elsewhere anybody on the way"
            " reads along.",
        ),
        CERTIFICATE: (
            "The certificate of {host} cannot be trusted: {said}.",
            "Use a name that is in the certificate as host, or let the server's operator renew it. Turn the check off (UNSAFE) only for"
            " a server that you know, on a network that you trust.",
        ),
        NO_AUTH: (
            "{host} offers no login on port {port}.",
            "Leave user name and password empty if it takes mail from this machine without, or use its port for submission: 587 or 465.",
        ),
        AUTH_NEEDS_TLS: ("{host} lets nobody log in without TLS.", "Choose STARTTLS or TLS."),
        NO_MECHANISM: (
            "{host} offers only ways to log in that are not known here: {said}.",
            "Let it offer PLAIN, LOGIN, CRAM-MD5 or SCRAM-SHA-256; some providers give passwords for programs that have these.",
        ),
        WRONG_PASSWORD: (
            "{host} does not accept the user name or password: {said}",
            "Enter both again. Some providers want the whole address as user name, or a password made for programs.",
        ),
        LOGIN_REFUSED: ("{host} refuses the login now: {said}", "What it says is the reason; often it passes. Try again later."),
        WRONG_CREDENTIALS: ("The user name or password cannot be sent.", "Take line breaks and other control characters out of them."),
        LOGIN_WANTED: ("{host} wants a login before it takes mail: {said}", "Enter user name and password."),
        SENDER: (
            "{host} refuses the sender: {said}",
            "Use a sender that the login may send as, of a domain that the server knows.",
        ),
        RELAY_DENIED: (
            "{host} passes no mail on for us: {said}",
            "Enter user name and password, or let its operator allow the address of this machine to relay.",
        ),
        RECIPIENT: ("{host} refuses the recipient: {said}", "Check the address that the message goes to; try another one."),
        CONTENT: (
            "{host} refuses the message: {said}",
            "What it says is the reason: often the sender's domain lacks SPF, DKIM or DMARC records.",
        ),
        LATER: ("{host} cannot take it now: {said}", "Try again in some minutes; some servers put off what they see for the first time."),
    }
)


class Fault(Exception):
    """A probe ends here. ``kind`` is one of ADVICE's, ``said`` what the server said, or was found."""

    def __init__(self, kind: str, said: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.said = said
