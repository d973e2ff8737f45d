"""DNS messages (RFC 1035): questions written, answers read. Pure; names and records are decoded by dnspython.

A message is walked record by record, and of what was asked for at most ``RECORDS_LIMIT`` records are kept, so that one answer
costs bounded time and memory. ``Malformed`` is a message that cannot be read, ``Foreign`` one that answers another question.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Any

import dns.exception
import dns.name
import dns.rdata
import dns.rdatatype
import dns.wire
import idna
from attrs import frozen
from dns.rdataclass import RdataClass
from dns.rdatatype import RdataType

RECORDS_LIMIT = 1000  # kept of one answer
CHAIN_LIMIT = 8  # CNAMEs followed from one name
EDNS_OCTETS = 1232  # what a UDP answer may have without being cut into fragments

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = range(5)
_IN = RdataClass.IN
_CNAME, _SOA, _OPT = RdataType.CNAME, RdataType.SOA, RdataType.OPT
_ANSWERS, _AUTHORITIES = 0, 1
_QR, _OPCODE, _TC, _RD, _AD, _RCODE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0020, 0x000F

_HEADER = Struct(">HHHHHH")
_QUESTION_END = Struct(">HH")
_EDNS = b"\0" + Struct(">HHIH").pack(_OPT, EDNS_OCTETS, 0, 0)
_TO_THE_QUESTION = b"\xc0\x0c"  # a pointer to the octet behind the header
_TTL_LIMIT = 2**31 - 1  # RFC 2181 8
_RECORD_OCTETS = 100  # what an object takes beside the data
_LABEL_LIMIT = 63
_NAME_LIMIT = 253  # octets in text, without the final dot


class Malformed(ValueError):
    """The octets are no DNS message that answers anything."""


class Foreign(ValueError):
    """A well-formed message, but not the answer to this question."""


@frozen(order=True)
class MX:
    """One MX record; ``host`` is "." in a null MX (RFC 7505)."""

    preference: int
    host: str


@frozen
class TLSA:
    """One TLSA record (RFC 6698 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@frozen
class Reading:
    """What one message says."""

    code: int  # RCODE, the extended bits included
    name: str  # where the chain of CNAMEs ends
    records: tuple[Any, ...]  # of the kind asked for, at ``name``
    aliases: int  # CNAMEs on the way
    ttl: int  # seconds; of a negative answer those of its SOA, -1 without one
    truncated: bool
    authentic: bool  # the AD bit
    octets: int  # about what the records take in memory


def ascii_name(name: str) -> str | None:
    """``name`` as it stands in a question: lower case, A-labels, no final dot; None when there can be no such name."""
    name = name.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    if not name or len(name) > _NAME_LIMIT or any(not 0 < len(label) <= _LABEL_LIMIT for label in name.split(".")):
        return None
    return name


def question(name: str, kind: str) -> bytes:
    """The question section for ``name`` (of :func:`ascii_name`) and a type such as "MX"; raises ValueError for an unknown type."""
    labels = b"".join(len(label).to_bytes() + label.encode("ascii") for label in name.split("."))
    try:
        number = dns.rdatatype.from_text(kind)
    except dns.exception.DNSException:
        raise ValueError(f"{kind!r} is no record type") from None
    return labels + b"\0" + _QUESTION_END.pack(number, _IN)


def query(number: int, question: bytes, edns: bool = True) -> bytes:
    """A whole message that asks ``question`` under the id ``number``. AD asks to be told what was validated (RFC 6840 5.7)."""
    return _HEADER.pack(number, _RD | _AD, 1, 0, 0, int(edns)) + question + (_EDNS if edns else b"")


def read(message: bytes, number: int, question: bytes) -> Reading:
    """What ``message`` answers to ``query(number, question)``; raises Malformed, Foreign."""
    start = _start(message, number, question)
    flags, _, *sections = _HEADER.unpack_from(message)[1:]
    try:
        return _Walk(message, start, question).reading(flags, sections)
    except (dns.exception.DNSException, ValueError) as error:
        raise Malformed(type(error).__name__) from None


def fits(message: bytes, number: int, question: bytes) -> bool:
    """Whether ``message`` says that it answers ``query(number, question)``."""
    try:
        return _start(message, number, question) > 0
    except (Malformed, Foreign):
        return False


def _start(message: bytes, number: int, question: bytes) -> int:
    """Where the records begin; raises Malformed, Foreign."""
    if len(message) < _HEADER.size:
        raise Malformed("shorter than a header")
    id, flags, questions = _HEADER.unpack_from(message)[:3]
    if id != number or not flags & _QR or flags & _OPCODE:
        raise Foreign("another id, or no answer")
    if not questions and flags & _RCODE:  # some servers leave it out when they report an error
        return _HEADER.size
    asked = message[_HEADER.size : _HEADER.size + len(question)]
    if questions != 1 or asked[:-4].lower() != question[:-4].lower() or asked[-4:] != question[-4:]:
        raise Foreign("another question")
    return _HEADER.size + len(question)


class _Walk:
    """One way through the records of a message."""

    def __init__(self, message: bytes, start: int, question: bytes) -> None:
        self._message = message
        self._parser = dns.wire.Parser(message, start)
        self._name = dns.name.from_wire(question, 0)[0].canonicalize()
        self._kind = _QUESTION_END.unpack(question[-4:])[0]
        self._aliases: dict[dns.name.Name, tuple[dns.name.Name, int]] = {}  # owner -> target, ttl
        self._found: dict[dns.name.Name, list[Any]] = {}
        self._ttls: dict[dns.name.Name, int] = {}
        self._kept = self._octets = 0
        self._negative = -1
        self._extended = 0

    def reading(self, flags: int, sections: Sequence[int]) -> Reading:
        truncated = bool(flags & _TC)
        if not truncated:  # what follows is incomplete: it is asked for again over TCP
            for section, count in enumerate(sections):
                for _ in range(count):
                    self._record(section)
        name, ttl, passed = self._name, _TTL_LIMIT, 0
        while name not in self._found and name in self._aliases and passed <= CHAIN_LIMIT:
            name, limit = self._aliases[name]
            ttl = min(ttl, limit)
            passed += 1
        records = self._found.get(name, [])
        ttl = min(ttl, self._ttls[name]) if records else (min(ttl, self._negative) if self._negative >= 0 else -1)
        text = name.to_text(omit_final_dot=True)
        code = flags & _RCODE | self._extended << 4
        return Reading(code, text, tuple(records), passed, ttl, truncated, bool(flags & _AD), self._octets)

    def _record(self, section: int) -> None:
        parser = self._parser
        if self._message.startswith(_TO_THE_QUESTION, parser.current):  # most records are the question's own
            owner = self._name
            parser.seek(parser.current + len(_TO_THE_QUESTION))
        else:
            owner = dns.name.from_wire_parser(parser).canonicalize()
        kind, kin, ttl, size = parser.get_struct("!HHIH")
        end = parser.current + size
        seconds = 0 if ttl >> 31 else ttl  # RFC 2181 8
        if kind == _OPT:
            self._extended = ttl >> 24
        elif kin == _IN and section == _ANSWERS and kind in (self._kind, _CNAME) and self._kept < RECORDS_LIMIT:
            self._keep(owner, kind, seconds, size)
        elif kin == _IN and section == _AUTHORITIES and kind == _SOA and self._negative < 0:
            with parser.restrict_to(size):
                soa = dns.rdata.from_wire_parser(_IN, _SOA, parser)
            self._negative = min(seconds, soa.minimum)  # type: ignore[attr-defined]  # RFC 2308 5
        parser.seek(end)

    def _keep(self, owner: dns.name.Name, kind: int, ttl: int, size: int) -> None:
        self._kept += 1
        with self._parser.restrict_to(size):
            said = _said(kind, self._parser)
        if kind == self._kind:
            self._found.setdefault(owner, []).append(said)
            self._ttls[owner] = min(self._ttls.get(owner, _TTL_LIMIT), ttl)
            self._octets += size + _RECORD_OCTETS
        else:
            self._aliases.setdefault(owner, (dns.name.from_text(said), ttl))


def _said(kind: int, parser: dns.wire.Parser) -> Any:
    """What the record behind ``parser`` says; raises what dnspython does for a malformed one."""
    if kind == RdataType.TLSA:  # dnspython takes no malformed ones, but one of them must not hide the others (RFC 6698 4.1)
        usage, selector, matching = parser.get_struct("!BBB")
        return TLSA(usage, selector, matching, parser.get_remaining())
    return value(dns.rdata.from_wire_parser(_IN, RdataType(kind), parser))


def value(rdata: Any) -> Any:
    """What a record says: text of addresses and names, octets of TXT, :class:`MX`, :class:`TLSA`, else its presentation form."""
    match rdata.rdtype:
        case RdataType.A | RdataType.AAAA:
            return rdata.address
        case RdataType.TXT | RdataType.SPF:
            return b"".join(rdata.strings)  # RFC 7208 3.3, RFC 8461 3.1
        case RdataType.MX:
            return MX(rdata.preference, _text(rdata.exchange))
        case RdataType.CNAME | RdataType.PTR | RdataType.NS:
            return _text(rdata.target)
    return str(rdata.to_text())


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
