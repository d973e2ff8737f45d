"""Names looked up: one caching asynchronous resolver for couriers and checks.

It asks recursive name servers, remembers what they say for as long as they say, and asks one question once however many wait
for it. That a name or its records do not exist is an :class:`Answer` like any other; :class:`DNSFailure` means that nobody
knows now, which is always temporary. ``Answer.secure`` is True only for what a validating resolver on loopback vouches for.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import define, evolve, frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mailx import config
from mailx.core.dns_exchange import Exchange, NoAnswer
from mailx.core.dns_wire import CHAIN_LIMIT, MX, NOERROR, NXDOMAIN, TLSA, Foreign, Reading, ascii_name, question
from mailx.mail.networks import is_address

__all__ = ["MX", "TLSA", "Answer", "DNSFailure", "Resolver", "ascii_name"]

log = Logger()

TTL_LEAST, TTL_MOST = 5, 86400  # seconds that an answer is kept, whatever it says
NEGATIVE_MOST = 3600  # RFC 2308 5
NEGATIVE_UNSAID = 60  # a negative answer without a SOA
FAILURE_SECONDS = 5  # RFC 9520: not to ask again at once what just failed
_AT_ONCE = 500  # questions on the way; the others wait
_CACHE_OCTETS = 32 * 1024 * 1024
_ENTRY_OCTETS = 600
_RESTING_SECONDS = 30.0  # a server that failed is asked last for so long
_PORT = 53
_NOWHERE = ("invalid", "onion")  # names that no public server knows: RFC 6761 6.4, RFC 7686 2
_RESOLV_CONF = Path("/etc/resolv.conf")
_HOSTS = Path("/etc/hosts")
_HOSTS_OCTETS = 1 << 20  # of it that are looked through


class DNSFailure(Exception):
    """No answer now: no server answered, or not to the point. Worth another try later."""


@frozen
class Answer:
    """What is known of one name and type. Texts of names are lower case without a final dot (the root is ".")."""

    name: str  # behind the CNAMEs
    records: tuple[Any, ...]  # str for A, AAAA, CNAME, PTR, NS; bytes for TXT; MX; TLSA; otherwise presentation form
    secure: bool  # DNSSEC vouches for it, also for there being no records
    ttl: int  # seconds it may still be kept
    exists: bool  # False: NXDOMAIN
    aliases: int = 0  # CNAMEs between the question and ``name``


@frozen
class _Kept:
    until: float
    answer: Answer | DNSFailure
    octets: int


@define
class _Server:
    exchange: Exchange
    failed: float = float("-inf")


class Resolver:
    """Asks ``settings.validating`` if it is set, else ``settings.servers``, else those of /etc/resolv.conf."""

    def __init__(self, settings: config.DNS, reactor: Any) -> None:
        """Raises ValueError when a server is no address."""
        self._reactor = reactor
        self._size = settings.cache
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._octets = 0
        self._asked: dict[tuple[str, str], list[Deferred[Answer]]] = {}
        self._slots = DeferredSemaphore(_AT_ONCE)
        self._stopped = False
        endpoints = [settings.validating] if settings.validating else list(settings.servers) or system_servers()
        places = [endpoint(one) for one in endpoints]
        self.validating = bool(settings.validating) and all(ip_address(host).is_loopback for host, _ in places)
        self._servers = [_Server(Exchange(host, port, settings.timeout, reactor)) for host, port in places]

    async def query(self, name: str, kind: str) -> Answer:
        """The records of type ``kind`` ("MX", "TXT", ...) at ``name``, which may hold U-labels; raises DNSFailure.

        ValueError is for a type that does not exist: a fault of the caller.
        """
        key = (name, kind)
        kept = self._kept.get(key)
        if kept is not None:
            left = kept.until - self._reactor.seconds()
            if left > 0:
                self._kept.move_to_end(key)
                return _told(kept, left)
        canonical = ascii_name(name)
        if canonical is None:
            return Answer(name, (), False, TTL_LEAST, False)
        if canonical != name:
            return await self.query(canonical, kind)
        if canonical.rpartition(".")[2] in _NOWHERE:
            return Answer(name, (), False, NEGATIVE_MOST, False)
        if self._stopped:
            raise DNSFailure("the resolver has stopped")
        waiter: Deferred[Answer] = Deferred()
        waiters = self._asked.get(key)
        if waiters is None:
            asking = question(name, kind)
            self._asked[key] = [waiter]
            self._slots.run(lambda: Deferred.fromCoroutine(self._look_up(key, asking)))
        else:
            waiters.append(waiter)
        return await waiter

    async def addresses(self, name: str) -> list[str]:
        """The IPv6 and IPv4 addresses of ``name`` as text; raises DNSFailure only if neither question was answered with some."""
        six, four = Deferred.fromCoroutine(self._addresses(name, "AAAA")), Deferred.fromCoroutine(self._addresses(name, "A"))
        told = (await six, await four)
        found = [one for each in told if not isinstance(each, DNSFailure) for one in each]
        if not found:
            for failure in told:
                if isinstance(failure, DNSFailure):
                    raise failure
        return found

    async def _addresses(self, name: str, kind: str) -> "tuple[str, ...] | DNSFailure":
        """The addresses of one family; a failure is returned, for whoever asked may be gone by then."""
        try:
            return (await self.query(name, kind)).records
        except DNSFailure as failure:
            return failure

    async def mx(self, name: str) -> list[MX]:
        """The MX records of ``name``, most preferred first; raises DNSFailure."""
        return sorted((await self.query(name, "MX")).records)

    async def texts(self, name: str) -> list[bytes]:
        """The TXT records of ``name``, the strings of each joined; raises DNSFailure."""
        return list((await self.query(name, "TXT")).records)

    def forget(self, name: str, kind: str) -> None:
        """Ask anew next time, for whoever has just published something."""
        kept = self._kept.pop((ascii_name(name) or name, kind), None)
        self._octets -= kept.octets if kept is not None else 0

    def clear(self) -> None:
        """Forget every answer."""
        self._kept.clear()
        self._octets = 0

    async def stop(self) -> None:
        """Ask no more; whoever waits gets DNSFailure."""
        self._stopped = True
        asked, self._asked = self._asked, {}
        for waiters in asked.values():
            for waiter in waiters:
                waiter.errback(DNSFailure("the resolver has stopped"))
        for server in self._servers:
            server.exchange.stop()
        for _ in range(2):  # sockets close in the reactor's next steps
            await deferLater(self._reactor, 0)

    async def _look_up(self, key: tuple[str, str], asking: bytes) -> None:
        """Find the answer for ``key``, keep it and tell those who wait for it."""
        octets = _ENTRY_OCTETS + 4 * len(key[0])
        what: Answer | DNSFailure
        try:
            what, records = await self._find(key, asking)
            ttl, octets = what.ttl, octets + records
        except DNSFailure as error:
            what, ttl = error, FAILURE_SECONDS
        except Exception as error:
            log.failure("A look-up failed", event="dns.failed")
            what, ttl = DNSFailure(type(error).__name__), FAILURE_SECONDS
        if not self._stopped:
            self._keep(key, _Kept(self._reactor.seconds() + ttl, what, octets))
        for waiter in self._asked.pop(key, ()):
            if isinstance(what, DNSFailure):
                waiter.errback(DNSFailure(*what.args))
            else:
                waiter.callback(what)

    def _keep(self, key: tuple[str, str], kept: _Kept) -> None:
        old = self._kept.pop(key, None)
        self._octets += kept.octets - (old.octets if old is not None else 0)
        self._kept[key] = kept
        while len(self._kept) > self._size or (self._octets > _CACHE_OCTETS and len(self._kept) > 1):
            self._octets -= self._kept.popitem(last=False)[1].octets

    async def _find(self, key: tuple[str, str], asking: bytes) -> tuple[Answer, int]:
        """The answer for ``key`` with its size, following CNAMEs that the server did not."""
        name, kind = key
        aliases, secure, ttl = 0, True, TTL_MOST
        while True:
            reading = await self._ask(asking)
            aliases += reading.aliases
            if aliases > CHAIN_LIMIT:
                raise DNSFailure("too many CNAMEs")
            secure = secure and reading.authentic and self.validating
            if reading.ttl >= 0:
                ttl = min(ttl, reading.ttl)
            if reading.records or reading.code == NXDOMAIN or not reading.aliases:
                break
            if reading.ttl >= 0 or (onward := ascii_name(reading.name)) is None:  # a SOA: the server went to the end of the chain
                break
            name = onward
            asking = question(name, kind)
        if not reading.records:
            ttl = min(ttl, NEGATIVE_MOST if reading.ttl >= 0 else NEGATIVE_UNSAID)
        ttl = max(ttl, TTL_LEAST)
        return Answer(reading.name, reading.records, secure, ttl, reading.code != NXDOMAIN, aliases), reading.octets

    async def _ask(self, question: bytes) -> Reading:
        """The first usable answer of a server; raises DNSFailure."""
        now = self._reactor.seconds()
        reason = "no name servers"
        for server in sorted(self._servers, key=lambda one: one.failed > now - _RESTING_SECONDS):
            if self._stopped:
                break
            try:
                reading = await server.exchange.ask(question)
            except (NoAnswer, Foreign) as error:
                reason = str(error)
                server.failed = self._reactor.seconds()
                continue
            if reading.code in (NOERROR, NXDOMAIN):
                return reading
            reason = f"code {reading.code}"  # of the name as often as of the server
        raise DNSFailure(reason)


def _told(kept: _Kept, left: float) -> Answer:
    answer = kept.answer
    if isinstance(answer, DNSFailure):
        raise DNSFailure(*answer.args)
    return answer if left > answer.ttl - 1 else evolve(answer, ttl=int(left))


def endpoint(text: str) -> tuple[str, int]:
    """(address, port) of ``"127.0.0.1:53"``, ``"[::1]:53"`` or an address alone; raises ValueError for a name."""
    host, port = config.endpoint(text, _PORT)
    try:
        return str(ip_address("127.0.0.1" if host == "localhost" else host)), port
    except ValueError:
        raise ValueError(f"{text!r}: a name server is given by its address") from None


def system_addresses(name: str, read: Callable[[], str] = _HOSTS.read_text) -> list[str]:
    """The addresses that /etc/hosts gives for ``name`` (of :func:`ascii_name`). Reads a file: for a thread."""
    try:
        text = read()[:_HOSTS_OCTETS]
    except (OSError, ValueError):
        return []
    words = [line.partition("#")[0].lower().split() for line in text.splitlines()]
    return [line[0] for line in words if line and _is_plain(line[0]) and any(name == each.removesuffix(".") for each in line[1:])]


def _is_plain(text: str) -> bool:
    """Whether ``text`` is an address without a scope, which means something to its own system only."""
    return is_address(text) and "%" not in text


def system_servers(read: Callable[[], str] = _RESOLV_CONF.read_text) -> list[str]:
    """The name servers of /etc/resolv.conf; the loopback if it names none (resolv.conf(5))."""
    try:
        lines: Sequence[str] = read().splitlines()
    except (OSError, ValueError):
        lines = ()
    words = [line.split() for line in lines]
    found = [line[1] for line in words if len(line) >= 2 and line[0] == "nameserver" and _is_plain(line[1])]
    return found[:3] or ["127.0.0.1"]
