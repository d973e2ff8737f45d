"""Looking for the MailX server of a domain: its TXT record in DNS and its document over HTTPS, which must agree.

Without the record there is none. The record tells where to look on; the key is believed by the document, whose HTTPS proves
the domain, or by a record that DNSSEC proves. Each step is recorded, for whoever wants to know why. Nothing is raised: what
is wrong there is REFUSED, what nobody can say now is UNSURE. Texts hold what the other side chose only after it was checked.
"""

from collections.abc import Callable, Sequence
from time import time
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThreadPool

from mailx.core.peer import DNSSEC, HTTPS, MAILX, NONE, REFUSED, UNSURE, Found, Step
from mailx.core.resolver import DNSFailure, Resolver
from mailx.core.settings import Settings
from mailx.core.urls import permitted
from mailx.identity import domain_keys
from mailx.identity.documents import Record, ServerDocument, Servers, is_record, parse_record, server_text
from mailx.identity.encoding import Malformed, key_text
from mailx.mail.networks import is_address

LABEL = "_mailx"
TTL_LEAST, TTL_MOST = 300, 86400  # seconds that an answer is kept, whatever DNS says
UNTIL_MOST = 30 * 86400  # seconds that what was found may be used without looking again
ALONE = 86400  # the same, of what DNSSEC alone proves
AT_ONCE = 20  # domains that are looked for at a time; the others wait
_RECORDS = 100  # TXT records of one name that are looked at

OK, ABSENT, FAILED = "ok", "none", "failed"  # outcomes of a step, besides REFUSED


class NotFetched(Exception):
    """There is no document to be had. ``outcome``: ABSENT, REFUSED (something is wrong there) or FAILED (try later)."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Fetcher(Protocol):
    """Fetches documents; :class:`mailx.federation.well_known.WellKnown`."""

    async def fetch(self, domain: str, told: Callable[[Step], None]) -> bytes:
        """The document of ``domain``; ``told`` of each step. Raises NotFetched."""


class _Ended(Exception):
    """The look ends with ``found``."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.reason)
        self.found = found


@frozen
class _Hint:
    """What DNS said."""

    record: Record
    secure: bool
    ttl: int


class Discovery:
    """Looks. ``resolver`` is the server's own; ``now`` gives seconds since 1970."""

    def __init__(self, resolver: Resolver, fetcher: Fetcher, settings: Settings, reactor: Any, *, now: Callable[[], float] = time) -> None:
        self._resolver = resolver
        self._fetcher = fetcher
        self._settings = settings
        self._reactor = reactor
        self._now = now
        self._slots = DeferredSemaphore(AT_ONCE)

    async def look(self, domain: str, anew: bool = False) -> Found:
        """What there is now; ``anew``: also past what the resolver remembers."""
        if anew:
            self._resolver.forget(f"{LABEL}.{domain}", "TXT")
        steps: list[Step] = []
        await self._slots.acquire()
        try:
            found = await self._look(domain, steps)
        except _Ended as ended:
            found = ended.found
        finally:
            self._slots.release()
        return evolve(found, steps=tuple(steps))

    async def _look(self, domain: str, steps: list[Step]) -> Found:
        hint = await self._dns(domain, steps)
        document = await self._document(domain, hint, steps)
        if document is not None:
            self._agree(hint, document, steps)
        servers = hint.record.servers if document is None else document.servers
        await self._reachable(servers, steps)
        now = int(self._now())
        if document is None:
            alone = Found(MAILX, "", hint.ttl, True, DNSSEC, hint.record.key, (), servers, until=now + ALONE)
            steps.append(Step("key", OK, f"{key_text(alone.key)}, proved by DNSSEC"))
            return alone
        source = DNSSEC if hint.secure else HTTPS
        steps.append(Step("key", OK, f"{key_text(document.key)}, proved by {'DNSSEC and ' if hint.secure else ''}HTTPS"))
        return Found(
            MAILX,
            "",
            hint.ttl,
            True,
            source,
            document.key,
            document.history,
            servers,
            tuple(sorted(document.capabilities)),
            document.message_size,
            min(document.expires, now + UNTIL_MOST),
        )

    # The steps.

    async def _dns(self, domain: str, steps: list[Step]) -> _Hint:
        name = f"{LABEL}.{domain}"
        try:
            answer = await self._resolver.query(name, "TXT")
        except DNSFailure as failure:
            steps.append(Step("dns", FAILED, f"TXT {name}: {failure}"))
            raise _Ended(Found(UNSURE, "DNS gives no answer")) from None
        ttl = min(max(answer.ttl, TTL_LEAST), TTL_MOST)
        texts = [record.decode("utf-8", "replace") for record in answer.records[:_RECORDS]]
        ours = [text for text in texts if is_record(text)]
        proof = "proved by DNSSEC" if answer.secure else "not proved by DNSSEC: a hint"
        if not ours:
            steps.append(
                Step("dns", ABSENT, f"TXT {name}: no record of a MailX server, {'proved' if answer.secure else 'not proved'} by DNSSEC")
            )
            raise _Ended(Found(NONE, ttl=ttl))
        try:
            if len(ours) > 1:
                raise Malformed("more than one record")
            record = parse_record(ours[0])
        except Malformed as error:
            raise _refused("dns", f"its TXT record: {error}", steps) from None
        listed = ", ".join(server_text(*server) for server in record.servers)
        steps.append(Step("dns", OK, f"TXT {name}: {key_text(record.key)} at {listed} ({proof}; kept for {ttl} seconds)"))
        return _Hint(record, answer.secure, ttl)

    async def _document(self, domain: str, hint: _Hint, steps: list[Step]) -> ServerDocument | None:
        """The document, checked; None if there is none to be had and DNSSEC proves the record."""
        try:
            data = await self._fetcher.fetch(domain, steps.append)
        except NotFetched as error:
            if hint.secure:
                steps.append(Step("https", error.outcome, f"{error.reason}; DNSSEC is enough"))
                return None
            if error.outcome == FAILED:
                steps.append(Step("https", FAILED, error.reason))
                raise _Ended(Found(UNSURE, f"its site: {error.reason}", evidence=True)) from None
            raise _refused("https", f"its site: {error.reason}", steps) from None
        pool = self._reactor.getThreadPool()
        try:
            document: ServerDocument = await deferToThreadPool(self._reactor, pool, ServerDocument.parse, data, domain, int(self._now()))
        except Malformed as error:
            raise _refused("document", f"its document: {error}", steps) from None
        steps.append(Step("document", OK, f"key {document.history[-1].serial}, {len(document.history)} in its history"))
        return document

    def _agree(self, hint: _Hint, document: ServerDocument, steps: list[Step]) -> None:
        """DNS may still name a key that was just rotated out; anything else must be the same."""
        if hint.record.key not in domain_keys.valid(document.history, int(self._now())):
            raise _refused("agreement", "its TXT record and its document name different keys", steps)
        if set(hint.record.servers) != set(document.servers):
            raise _refused("agreement", "its TXT record and its document name different servers", steps)
        steps.append(Step("agreement", OK, "DNS and document name the same key and servers"))

    async def _reachable(self, servers: Servers, steps: list[Step]) -> None:
        """At least one server must be where mail may go; the connection itself checks again."""
        networks = self._settings.current.federation.networks
        refused: list[str] = []
        for host, port in servers:
            place = server_text(host, port)
            try:
                found = await self._addresses(host)
            except DNSFailure:
                steps.append(Step("server", FAILED, f"{place}: its name cannot be looked up now"))
                return
            good = [each for each in found if permitted(each, networks)]
            if good:
                steps.append(Step("server", OK, f"{place}: {', '.join(good[:4])}"))
                return
            refused.append(f"{place}: {'no address of the public Internet' if found else 'its name has no address'}")
        for text in refused:
            steps.append(Step("server", REFUSED, text))
        raise _Ended(Found(REFUSED, "no server of its has an address that may be connected to", evidence=True))

    async def _addresses(self, host: str) -> Sequence[str]:
        return [host] if is_address(host) else await self._resolver.addresses(host)


def _refused(step: str, reason: str, steps: list[Step]) -> _Ended:
    steps.append(Step(step, REFUSED, reason))
    return _Ended(Found(REFUSED, reason, evidence=True))
