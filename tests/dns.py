"""An authority for tests on loopback, UDP and TCP on one port: it answers as a recursive resolver would that knows only this.

``resolver(test_case, {("example.org", "MX"): ["10 mx.example.org."]})`` is a real resolver that asks one. A zone maps (name,
type) to a list of records in presentation form (TXT: the text itself, cut into strings of 255 octets), or to a fault. What
is not there does not exist: NXDOMAIN, or no data when the name has other records or names below it.
"""

from collections.abc import Collection, Mapping, Sequence
from struct import pack
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset
from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from twisted.trial.unittest import TestCase

from mailx.config import DNS
from mailx.core.resolver import Resolver


@frozen
class Fault:
    """What goes wrong in place of an answer."""

    kind: str
    records: tuple[str, ...] = ()


SERVFAIL = Fault("servfail")
REFUSED = Fault("refused")
TIMEOUT = Fault("timeout")  # no answer at all
NXDOMAIN = Fault("nxdomain")
GARBAGE = Fault("garbage")  # octets that are no message, then nothing
CLOSED = Fault("closed")  # truncated over UDP; TCP closes without an answer


def truncated(*records: str) -> Fault:
    """Records that are given over TCP only."""
    return Fault("truncated", records)


def spoofed(*records: str) -> Fault:
    """First packets with a wrong id and for a wrong question, then the records."""
    return Fault("spoofed", records)


def flooded(*records: str) -> Fault:
    """Over UDP wrong packets without end; the records over TCP."""
    return Fault("flooded", records)


Zone = Mapping[tuple[str, str], Sequence[str | bytes] | Fault]


class Authority:
    """Answers from ``zone``, which a test may change. ``secure``: the names whose answers are validated, or all of them."""

    address = ""
    ttl = 300

    def __init__(self, zone: Zone, secure: Collection[str] | bool = ()) -> None:
        self.zone: dict[tuple[str, str], Any] = {(_plain(name), kind): value for (name, kind), value in zone.items()}
        self.secure = secure
        self.asked: list[tuple[str, str]] = []  # every question, in order
        self.streams = 0  # questions over TCP

    def answers(self, wire: bytes, stream: bool) -> list[bytes]:
        """The messages that go back for ``wire``."""
        query = dns.message.from_wire(wire)
        name, kind = _plain(query.question[0].name.to_text()), dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, kind))
        self.streams += stream
        found = self.zone.get((name, kind), ())
        if not isinstance(found, Fault):
            return [self._wire(self._answer(query, name, kind), stream)]
        answer = self._answer(query, name, kind, found.records)
        cut = dns.message.make_response(query)
        cut.flags |= dns.flags.TC
        match found.kind:
            case "servfail" | "refused" | "nxdomain":
                answer = dns.message.make_response(query)
                answer.set_rcode(dns.rcode.from_text(found.kind))
            case "timeout":
                return []
            case "garbage":
                return [b"", b"\xff" * 7, wire[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + wire[12:] + b"\xc0"]
            case "closed":
                return [] if stream else [cut.to_wire()]
            case "truncated" if not stream:
                return [cut.to_wire()]
            case "spoofed" | "flooded" if not stream:
                wrong = self._wire(self._answer(query, name, kind, ()), stream)
                number = bytes([wire[0] ^ 1, wire[1]]) + wrong[2:]
                other = wrong.replace(wrong[12:14], bytes([wrong[12], wrong[13] ^ 1]), 1)
                return [number, other] + ([self._wire(answer, stream)] if found.kind == "spoofed" else [number] * 50)
        return [self._wire(answer, stream)]

    def _answer(self, query: Any, name: str, kind: str, records: Sequence[str | bytes] | None = None) -> Any:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        secure = self._secure(name)
        for _ in range(20):  # a loop of CNAMEs ends here, as it does in a resolver
            own = self.zone.get((name, kind)) if records is None else records
            if own and not isinstance(own, Fault):
                answer.answer.append(_records(name, kind, own, self.ttl))
                break
            aliases = self.zone.get((name, "CNAME"))
            if not aliases or kind == "CNAME":
                answer.set_rcode(dns.rcode.NOERROR if self._exists(name) else dns.rcode.NXDOMAIN)
                soa = "ns.invalid. root.invalid. 1 3600 900 86400 60"
                answer.authority.append(_records(name.partition(".")[2] or ".", "SOA", [soa], self.ttl))
                break
            answer.answer.append(_records(name, "CNAME", aliases, self.ttl))
            name = _plain(str(aliases[0]))
            secure = secure and self._secure(name)
        else:
            answer.set_rcode(dns.rcode.SERVFAIL)
        if secure:
            answer.flags |= dns.flags.AD
        return answer

    def _wire(self, answer: Any, stream: bool) -> bytes:
        wire: bytes = answer.to_wire(max_size=65535, want_shuffle=False)
        if len(wire) <= 1232 or stream:
            return wire
        answer.answer = []
        answer.flags |= dns.flags.TC
        cut: bytes = answer.to_wire()
        return cut

    def _exists(self, name: str) -> bool:
        return any(owner == name or owner.endswith("." + name) for owner, _ in self.zone)

    def _secure(self, name: str) -> bool:
        return self.secure if isinstance(self.secure, bool) else name in self.secure


def _plain(name: str) -> str:
    return name.rstrip(".").lower()


def _records(name: str, kind: str, values: Sequence[str | bytes], ttl: int) -> Any:
    number = dns.rdatatype.from_text(kind)
    rrset = dns.rrset.RRset(dns.name.from_text(name), dns.rdataclass.IN, number)
    for one in values:
        if kind == "TXT":
            octets = one.encode() if isinstance(one, str) else one
            strings = [octets[start : start + 255] for start in range(0, len(octets), 255)] or [b""]
            rrset.add(dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, number, strings), ttl)
        elif kind == "TLSA":  # malformed ones too
            *numbers, data = str(one).split()
            rrset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, number, bytes(map(int, numbers)) + bytes.fromhex(data)), ttl)
        else:
            rrset.add(dns.rdata.from_text(dns.rdataclass.IN, number, str(one), origin=dns.name.root, relativize=False), ttl)
    return rrset


class _Datagrams(DatagramProtocol):
    def __init__(self, authority: Authority) -> None:
        self.authority = authority

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for answer in self.authority.answers(datagram, False):
            self.transport.write(answer, addr)


class _Stream(Protocol):
    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= 2 and len(self.received) >= 2 + (length := int.from_bytes(self.received[:2])):
            query, self.received = self.received[2 : 2 + length], self.received[2 + length :]
            answers = self.authority.answers(query, True)
            for answer in answers:
                self.transport.write(pack(">H", len(answer)) + answer)  # type: ignore[union-attr]
            if not answers:
                self.transport.loseConnection()  # type: ignore[union-attr]


async def serve(test_case: TestCase, zone: Zone, secure: Collection[str] | bool = (), interface: str = "127.0.0.1") -> Authority:
    """An authority that answers on a loopback ``interface`` until the test ends; ``address`` says where."""
    from twisted.internet import reactor

    authority = Authority(zone, secure)
    factory = ServerFactory()
    factory.noisy = False
    factory.protocol = lambda: _Stream(authority)  # type: ignore[assignment]
    while True:  # until a port is free for both
        stream = reactor.listenTCP(0, factory, interface=interface)  # type: ignore[attr-defined]
        number = stream.getHost().port
        try:
            datagrams = reactor.listenUDP(number, _Datagrams(authority), interface=interface, maxPacketSize=65535)  # type: ignore[attr-defined]
        except CannotListenError:
            await maybeDeferred(stream.stopListening)
        else:
            break
    test_case.addCleanup(datagrams.stopListening)
    test_case.addCleanup(stream.stopListening)
    authority.address = f"[{interface}]:{number}" if ":" in interface else f"{interface}:{number}"
    return authority


async def authority(test_case: TestCase, zone: Zone, secure: Collection[str] | bool = ()) -> str:
    """Where an authority for ``zone`` answers until the test ends: ``"127.0.0.1:port"``."""
    return (await serve(test_case, zone, secure)).address


def ask(test_case: TestCase, authority: Authority | str, *, validating: bool = False, **settings: Any) -> Resolver:
    """A resolver that asks ``authority`` until the test ends; ``settings`` as of ``[dns]``."""
    from twisted.internet import reactor

    address = authority if isinstance(authority, str) else authority.address
    where = {"validating": address} if validating else {"servers": (address,)}
    made = Resolver(DNS(**where, **settings), reactor)
    test_case.addCleanup(lambda: Deferred.fromCoroutine(made.stop()))
    return made


async def resolver(test_case: TestCase, zone: Zone, secure: Collection[str] | bool = (), **settings: Any) -> Resolver:
    """A resolver that knows ``zone`` only; it validates if any name is ``secure``."""
    return ask(test_case, await serve(test_case, zone, secure), validating=bool(secure), **settings)
