"""What two servers sign of a message that goes from one to the other: the manifest before, the acknowledgement after.

The manifest is signed by the sender's domain and says everything about the message but its content, of which it has the
hash. The acknowledgement is signed by the recipients' domain and says which of them took it: a proof of delivery that
anybody can check who knows that domain's key. Both are :class:`~mailx.identity.statements.Statement`; failure is Malformed.
"""

import json
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailx.identity.encoding import JSON, Malformed, b64, parse, unb64
from mailx.identity.statements import Signer, Statement, domain_name, integer, mapping, signed, text
from mailx.mail.address import Address, AddressError
from mailx.mail.envelope import DEMANDS_NOTHING, WISHES_NOTHING, Demands, Wish

TRANSFER = "transfer"  # kinds of statements
ACKNOWLEDGEMENT = "acknowledgement"

ID_SIZE = 16  # octets
DIGEST_SIZE = 32  # SHA-256
RECIPIENTS = 100  # of one transfer
LIMIT = 131072  # octets of either statement
_WORDS = 500  # characters of what the sender says of a recipient, or of the message (RFC 3461 4.2, 4.4)
_TRACE = 100  # of a traceparent
_NOTIFY = 15  # all of the flags

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@frozen
class Manifest:
    """A message on its way: from one of the domain ``source`` to some of the domain ``destination``."""

    id: bytes
    source: str
    destination: str
    sender: Address | None
    recipients: tuple[Address, ...]
    size: int  # octets of the content
    digest: bytes  # SHA-256 of the content
    time: int  # seconds since 1970
    demands: Demands = DEMANDS_NOTHING
    wishes: Mapping[Address, Wish] = field(factory=dict, hash=False)
    trace: str = ""  # traceparent of W3C Trace Context

    def signed(self, *signers: Signer) -> bytes:
        """The statement as it travels."""
        body: dict[str, JSON] = {
            "id": b64(self.id),
            "source": self.source,
            "destination": self.destination,
            "sender": "" if self.sender is None else str(self.sender),
            "recipients": [self._recipient(address) for address in self.recipients],
            "size": self.size,
            "digest": b64(self.digest),
            "time": self.time,
        }
        demands = self.demands
        if demands != DEMANDS_NOTHING:
            body["demands"] = {"utf8": demands.utf8, "tls": demands.require_tls, "returns": demands.returns, "id": demands.id}
        if self.trace:
            body["trace"] = self.trace
        return _octets(signed(TRANSFER, body, *signers))

    def _recipient(self, address: Address) -> JSON:
        wish = self.wishes.get(address, WISHES_NOTHING)
        if wish == WISHES_NOTHING:
            return {"address": str(address)}
        return {"address": str(address), "notify": int(wish.notify), "original": wish.original}

    @classmethod
    def read(cls, octets: bytes) -> "tuple[Manifest, Statement]":
        """What ``signed`` wrote, and the statement whose signature is still to be checked."""
        statement = Statement.decode(parse(octets, LIMIT), TRANSFER, LIMIT)
        body = statement.body
        recipients: dict[Address, Wish] = {}
        for each in _listed(body, "recipients"):
            one = mapping(each, "a recipient")
            address = _address(text(one, "address"))
            if address in recipients:
                raise Malformed("a recipient stands twice")
            notify = integer(one, "notify") if "notify" in one else 0
            original = text(one, "original", _WORDS) if "original" in one else ""
            if notify > _NOTIFY:
                raise Malformed("notify is out of range")
            recipients[address] = Wish(notify, original) if notify or original else WISHES_NOTHING
        sender = text(body, "sender")
        manifest = cls(
            unb64(body.get("id"), ID_SIZE),
            domain_name(body, "source"),
            domain_name(body, "destination"),
            _address(sender) if sender else None,
            tuple(recipients),
            integer(body, "size"),
            unb64(body.get("digest"), DIGEST_SIZE),
            integer(body, "time"),
            _demands(body),
            {address: wish for address, wish in recipients.items() if wish is not WISHES_NOTHING},
            text(body, "trace", _TRACE) if "trace" in body else "",
        )
        return manifest, statement


@frozen
class Taken:
    """What one recipient took, and when (seconds since 1970)."""

    time: int
    digest: bytes  # SHA-256
    size: int  # octets


@frozen
class Acknowledgement:
    """Who took a transfer, as the recipients' domain ``destination`` says."""

    id: bytes
    source: str
    destination: str
    taken: Mapping[Address, Taken] = field(hash=False)

    def signed(self, *signers: Signer) -> bytes:
        """The statement as it travels."""
        body: dict[str, JSON] = {
            "id": b64(self.id),
            "source": self.source,
            "destination": self.destination,
            "recipients": [
                {"address": str(address), "time": one.time, "digest": b64(one.digest), "size": one.size}
                for address, one in self.taken.items()
            ],
        }
        return _octets(signed(ACKNOWLEDGEMENT, body, *signers))

    @classmethod
    def read(cls, octets: bytes) -> "tuple[Acknowledgement, Statement]":
        """What ``signed`` wrote, and the statement whose signature is still to be checked."""
        statement = Statement.decode(parse(octets, LIMIT), ACKNOWLEDGEMENT, LIMIT)
        body = statement.body
        taken = {}
        for each in _listed(body, "recipients"):
            one = mapping(each, "a recipient")
            digest = unb64(one.get("digest"), DIGEST_SIZE)
            taken[_address(text(one, "address"))] = Taken(integer(one, "time"), digest, integer(one, "size"))
        source, destination = domain_name(body, "source"), domain_name(body, "destination")
        return cls(unb64(body.get("id"), ID_SIZE), source, destination, taken), statement


def _octets(statement: Statement) -> bytes:
    return _encode(statement.encode()).encode()


def _listed(body: Mapping[str, JSON], name: str) -> Sequence[JSON]:
    value = body.get(name)
    if not isinstance(value, list) or not 1 <= len(value) <= RECIPIENTS:
        raise Malformed(f"not 1 to {RECIPIENTS} {name}")
    return value


def _address(written: str) -> Address:
    try:
        return Address.parse(written)
    except AddressError:
        raise Malformed("not an address") from None


def _demands(body: Mapping[str, JSON]) -> Demands:
    if "demands" not in body:
        return DEMANDS_NOTHING
    demands = mapping(body["demands"], "demands")
    utf8, tls = demands.get("utf8"), demands.get("tls")
    returns = text(demands, "returns", 4)
    if not isinstance(utf8, bool) or not isinstance(tls, bool) or returns not in ("", "FULL", "HDRS"):
        raise Malformed("demands have another shape")
    return Demands(utf8, tls, returns, text(demands, "id", _WORDS))
