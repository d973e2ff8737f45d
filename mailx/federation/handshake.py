"""TLS of channels: version 1.3 only, a certificate from both sides, and who the peer proves to be.

OpenSSL accepts every certificate; nothing of PB is said or read before :func:`prove` has checked the chain against the keys
of the domain that it names. Sessions are never resumed: each connection proves itself anew.

What OpenSSL says of a handshake that failed is put into words by :func:`trouble`.
"""

from collections.abc import Callable, Collection
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from OpenSSL import SSL
from OpenSSL.SSL import Connection, Context
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mailx.federation.broker import Broker
from mailx.federation.certificates import Issued, Untrusted, claim, verify
from mailx.federation.channel import Trust
from mailx.federation.link import Proved

_HOST = 253  # characters of a domain
# What OpenSSL says, and what it means here. An alert is what the other side found wrong.
_TROUBLES = (
    ("alert protocol version", "the other side does not speak TLS 1.3"),
    ("alert certificate required", "the other side asks for a certificate"),
    ("alert handshake failure", "the other side has no certificate for the domain, or no cipher in common"),
    ("alert", "the other side refused the TLS handshake"),
    ("unsupported protocol", "TLS 1.3 is not spoken"),
    ("version too low", "TLS 1.3 is not spoken"),
    ("did not return a certificate", "the peer shows no certificate"),
    ("no suitable signature", "the server has no certificate for the domain that was asked for"),
    ("no shared cipher", "the server has no certificate for the domain that was asked for"),
    ("wrong version number", "this is not TLS"),
    ("packet length too long", "this is not TLS"),
    ("http request", "this is not TLS"),
    ("record layer failure", "this is not TLS"),
    ("decryption failed or bad record mac", "TLS was damaged on the way"),
    ("certificate", "the certificate is damaged"),
)


class Identities(Protocol):
    """The certificates of our own domains; :class:`mailx.federation.certificates.Certificates`."""

    def of(self, domain: str) -> Issued:
        """The certificate to show for ``domain`` now, the same object as long as it is good; raises KeyError: not ours."""


class Contexts:
    """OpenSSL contexts of our domains, made anew when the certificate is. ``server``: for the side that is connected to."""

    def __init__(self, identities: Identities, server: bool) -> None:
        self._identities = identities
        self._method = SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD
        self._made: dict[str, tuple[Issued, Context]] = {}

    def of(self, domain: str) -> Context:
        """The context that shows the certificate of ``domain``; raises KeyError."""
        try:
            issued = self._identities.of(domain)
        except KeyError:
            self._made.pop(domain, None)
            raise
        made = self._made.get(domain)
        if made is None or made[0] is not issued:
            made = self._made[domain] = issued, _showing(issued, plain(self._method))
        return made[1]


def plain(method: int) -> Context:
    """A context without a certificate."""
    context = Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    return context


def _showing(issued: Issued, context: Context) -> Context:
    leaf, *others = (x509.load_der_x509_certificate(each) for each in issued.chain)
    context.use_certificate(leaf)
    for each in others:
        context.add_extra_chain_cert(each)
    context.use_privatekey(load_der_private_key(issued.private, None))  # type: ignore[arg-type]
    return context


@implementer(IOpenSSLServerConnectionCreator)
class Answering:
    """Makes the TLS of connections to us: which certificate is shown depends on the domain that the peer asks for (SNI)."""

    def __init__(self, identities: Identities) -> None:
        self._contexts = Contexts(identities, server=True)
        self._front = plain(SSL.TLS_SERVER_METHOD)
        self._front.set_tlsext_servername_callback(self._choose)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        return Connection(self._front, None)

    def _choose(self, connection: Connection) -> None:
        try:
            connection.set_context(self._contexts.of(asked(connection)))
        except KeyError:
            pass  # without a certificate the handshake fails


def asked(connection: Connection) -> str:
    """The domain that the connecting side asked for, "" if none."""
    name: bytes | None = connection.get_servername()
    return name.decode("ascii", "replace").lower().removesuffix(".") if name and len(name) <= _HOST else ""


@implementer(IOpenSSLClientConnectionCreator)
class Calling:
    """Makes the TLS of one connection from ``local`` to ``remote``; raises KeyError if ``local`` is not ours."""

    def __init__(self, contexts: Contexts, local: str, remote: str) -> None:
        self._context = contexts.of(local)
        self._remote = remote

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        connection = Connection(self._context, None)
        connection.set_tlsext_host_name(self._remote.encode("ascii"))
        return connection


@implementer(IHandshakeListener)
class Shaken(Broker):
    """A broker that reads nothing after the TLS handshake until somebody has looked at the certificates.

    ``completed`` is called at the end of the handshake, ``ended`` when the connection is lost before there is a party.
    """

    def __init__(self, client: bool, completed: Callable[["Shaken"], None], ended: Callable[["Shaken", str, bool], None]) -> None:
        super().__init__(client)
        self.shaken = False
        self._completed = completed
        self._ended_early = ended

    def connectionMade(self) -> None:
        self.wire.setTcpNoDelay(True)  # a call does not wait for the acknowledgement of the one before it
        self.wire.setTcpKeepAlive(True)

    def handshakeCompleted(self) -> None:
        self.shaken = True
        self.wire.pauseProducing()
        self._completed(self)

    def connectionLost(self, reason: Any = None) -> None:
        early = self.party is None
        super().connectionLost(reason)
        if early:
            self._ended_early(self, *trouble(reason.value, self.shaken))

    @property
    def tls(self) -> Connection:
        """The TLS of this connection."""
        connection: Connection = self.wire.getHandle()
        return connection


def chain(connection: Connection) -> list[bytes]:
    """The certificates that the peer showed, as DER, its own first."""
    own = connection.get_peer_certificate(as_cryptography=True)
    if own is None:
        return []
    leaf = own.public_bytes(Encoding.DER)
    others = [each.public_bytes(Encoding.DER) for each in connection.get_peer_cert_chain(as_cryptography=True) or []]
    return others if others and others[0] == leaf else [leaf, *others]


async def prove(shaken: Shaken, trust: Trust, now: Callable[[], float], local: str, remote: str) -> Proved:
    """Who the peer is. ``remote`` is whom we connected to, "" if the peer connected to us.

    Raises Untrusted, or Refused when the keys of the domain cannot be told now or it is blocked.
    """
    connection = shaken.tls
    shown = _shown(connection)
    claimed = claim(shown)
    if remote and claimed.domain != remote:
        raise Untrusted("the certificate is of another domain")
    keys: Collection[bytes] = await trust.keys(claimed.domain, claimed.key)
    if not keys:
        raise Untrusted(f"no MailX server is known for {claimed.domain}")
    key = verify(shown, claimed.domain, keys, now(), server=bool(remote))
    name = f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
    return Proved(local, claimed.domain, key, shaken.wire.getPeer().host, name)


def _shown(connection: Connection) -> list[bytes]:
    try:
        return chain(connection)
    except Exception:  # OpenSSL takes certificates that others choke on, in ways of their own
        raise Untrusted("the certificate is damaged") from None


def trouble(error: BaseException, shaken: bool) -> tuple[str, bool]:
    """Why a connection ended before anybody was proved, in our words; and whether somebody refused, or could not do, what we ask."""
    if isinstance(error, SSL.Error):
        said = " ".join(str(word).lower() for entry in error.args[:1] for each in entry for word in each)
        for sign, meaning in _TROUBLES:
            if sign in said:
                return meaning, True
        return "the TLS handshake failed", True
    if isinstance(error, (ConnectionDone, ConnectionLost, ConnectionAborted)):
        when = "before the certificates were checked" if shaken else "during the TLS handshake"
        return f"the connection ended {when}", False
    return f"the connection failed: {type(error).__name__}", False
