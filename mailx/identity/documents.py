"""What a domain publishes about its MailX server: the document at ``/.well-known/mailx-server`` and the TXT record.

The document is a statement of the current domain key and holds the history of keys that leads to it; the record holds
the key and the servers, so that both can be compared. Both are hostile text of at most a few KiB: whatever is wrong
with them is :class:`Malformed`.
"""

import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailx.identity.domain_keys import HISTORY_LIMIT, SKEW, DomainKey, chain
from mailx.identity.encoding import JSON, Malformed, canonical, key_from_text, key_text, parse
from mailx.identity.statements import Signer, Statement, domain_name, integer, mapping, signed, text

KIND = "server"
PATH = "/.well-known/mailx-server"
DOCUMENT_LIMIT = 131072  # octets
VALID_SECONDS = 7 * 86400
_LONGEST = 31 * 86400  # that a document may be valid
SERVERS_LIMIT = 8
RECORD_LIMIT = 1024  # characters of a TXT record, its strings joined
_CAPABILITIES_LIMIT = 32
_RECORD = "v=mailx1"
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")  # a name in A-labels or an IPv4 address
_HOST_6 = re.compile(r"\[[0-9a-f:.]{2,45}\]\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")

Servers = tuple[tuple[str, int], ...]


@frozen
class ServerDocument:
    """Who a domain is and where its server listens. Times are seconds since 1970."""

    domain: str
    servers: Servers  # (host, port), the next is tried when one fails
    key: bytes
    history: tuple[DomainKey, ...]  # oldest first; the last is that of ``key``
    recovery: bytes
    capabilities: frozenset[str]
    message_size: int
    issued: int
    expires: int
    log: Mapping[str, JSON] | None = field(default=None, hash=False)  # of the key log: the public key of its labels, and its head
    statement: Statement | None = field(default=None, repr=False, eq=False)

    def signed(self, signer: Signer) -> Statement:
        """The document as published; raises Malformed if it cannot be."""
        return signed(
            KIND,
            {
                "domain": self.domain,
                "servers": [server_text(host, port) for host, port in self.servers],
                "key": key_text(self.key),
                "history": [key.statement.encode() for key in self.history[-HISTORY_LIMIT:]],
                "recovery": key_text(self.recovery),
                "capabilities": sorted(self.capabilities),
                "message_size": self.message_size,
                "issued": self.issued,
                "expires": self.expires,
                "log": None if self.log is None else dict(self.log),
            },
            signer,
        )

    @classmethod
    def parse(cls, data: bytes, domain: str, now: int) -> "ServerDocument":
        """The document of ``domain`` in ``data``, its signature, dates and history checked; raises Malformed.

        It proves that the holder of ``key`` wrote it, not yet that ``key`` is the domain's. Call it in a thread (see chain()).
        """
        return cls.of(Statement.decode(parse(data, DOCUMENT_LIMIT), KIND, DOCUMENT_LIMIT), domain, now)

    @classmethod
    def of(cls, statement: Statement, domain: str, now: int) -> "ServerDocument":
        """As :meth:`parse`, of a statement that is already decoded."""
        body = statement.body
        listed = _list(body, "history", HISTORY_LIMIT)
        document = cls(
            domain_name(body),
            tuple(server_from_text(each) for each in _list(body, "servers", SERVERS_LIMIT)),
            key_from_text(body.get("key")),
            chain([DomainKey.decode(each) for each in listed], now),
            key_from_text(body.get("recovery")),
            frozenset(_word(each) for each in _list(body, "capabilities", _CAPABILITIES_LIMIT)),
            integer(body, "message_size"),
            integer(body, "issued"),
            integer(body, "expires"),
            None if body.get("log") is None else mapping(body["log"], "log"),
            statement,
        )
        last = document.history[-1]
        if document.domain != domain or last.domain != domain:
            raise Malformed("the document of another domain")
        if last.key != document.key or last.recovery != document.recovery:
            raise Malformed("the history leads to another key")
        if not statement.signed_by(document.key):
            raise Malformed("the key did not sign the document")
        if document.issued > now + SKEW:
            raise Malformed("the document is of the future: compare the clocks of both servers")
        if document.expires - document.issued > _LONGEST:
            raise Malformed(f"the document is valid for longer than {_LONGEST // 86400} days")
        if document.expires <= now:
            raise Malformed("the document has expired")
        return document

    @property
    def encoded(self) -> bytes:
        """The octets of the published document; only one that was read or signed has them."""
        if self.statement is None:
            raise Malformed("the document is not signed")
        return canonical(self.statement.encode())


@frozen
class Record:
    """What the TXT record at ``_mailx.<domain>`` says."""

    key: bytes
    servers: Servers


def record_text(key: bytes, servers: Sequence[tuple[str, int]]) -> str:
    """The text of a TXT record."""
    return f"{_RECORD}; key={key_text(key)}; servers={','.join(server_text(host, port) for host, port in servers)}"


def is_record(value: str) -> bool:
    """Whether a TXT record claims to be one of ours, right or wrong."""
    return value.partition(";")[0].strip().lower() == _RECORD


def parse_record(value: str) -> Record:
    """What ``record`` wrote; fields that it does not know are left out; raises Malformed."""
    if len(value) > RECORD_LIMIT:
        raise Malformed(f"a record of more than {RECORD_LIMIT} characters")
    if not is_record(value):
        raise Malformed(f"the record does not begin with {_RECORD}")
    fields: dict[str, JSON] = {}
    for part in filter(None, (each.strip() for each in value.split(";")[1:])):
        name, equals, content = part.partition("=")
        name = name.strip()
        if not equals or name in fields:
            raise Malformed("a field of the record has no value, or stands twice")
        fields[name] = content.strip()
    listed = text(fields, "servers", RECORD_LIMIT).split(",")
    if len(listed) > SERVERS_LIMIT:
        raise Malformed(f"more than {SERVERS_LIMIT} servers")
    return Record(key_from_text(fields.get("key")), tuple(server_from_text(each.strip()) for each in listed))


def server_text(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_from_text(value: object) -> tuple[str, int]:
    """What ``server_text`` wrote; raises Malformed."""
    host, colon, port = value.rpartition(":") if isinstance(value, str) and len(value) <= 262 else ("", "", "")
    if not colon or not (_HOST.match(host) or _HOST_6.match(host)):
        raise Malformed("a server is HOST:PORT")
    if not port.isascii() or not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= 65535:
        raise Malformed("a server has a port from 1 to 65535")
    return host.strip("[]"), int(port)


def _list(body: Mapping[str, JSON], name: str, limit: int) -> list[JSON]:
    value = body.get(name)
    if not isinstance(value, list) or len(value) > limit:
        raise Malformed(f"{name} is no list of at most {limit}")
    return value


def _word(value: JSON) -> str:
    if not isinstance(value, str) or not _WORD.match(value):
        raise Malformed("a capability is a short word")
    return value
