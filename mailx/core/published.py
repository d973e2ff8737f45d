"""What the world sees of the records that a domain should publish, and how it differs.

Asks the resolver, compares each record by its own rule, and never fails: what DNS does not answer cannot be checked.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from mailx.core import spf_reading
from mailx.core.dkim import publishes
from mailx.core.resolver import Answer, DNSFailure, Resolver
from mailx.core.signing import Key
from mailx.identity import documents
from mailx.identity.encoding import Malformed
from mailx.mail import dmarc
from mailx.mail.printable import printable
from mailx.mail.records import THIS_SERVER, UNWANTED, Page, Record, quoted
from mailx.mail.tags import MalformedTags, parse

T = TypeVar("T")

OK, MISSING, DIFFERENT, UNNECESSARY, UNKNOWN = "ok", "missing", "different", "unnecessary", "cannot be checked"

_SHOWN = 10  # records of one name that are shown
_SHOWN_LENGTH = 1000  # characters of one
_ADDRESSES = 10
_ONE_POLICY = "There must be one record with p=none, p=quarantine or p=reject."


@frozen
class Finding:
    """What came of one record."""

    record: Record
    verdict: str  # OK, MISSING, DIFFERENT, UNNECESSARY or UNKNOWN
    seen: tuple[str, ...] = ()  # what stands there, in presentation form
    remark: str = ""


class Published:
    """Looks records up and compares them."""

    def __init__(self, resolver: Resolver, host: str) -> None:
        """``host`` is the name of this server."""
        self._resolver = resolver
        self._host = host
        self._rules: dict[str, Callable[[Record], Awaitable[Finding]]] = {
            "mx": self._mx,
            "address": self._address,
            "ptr": self._ptr,
            "spf": self._spf,
            "dkim": self._dkim,
            "no_key": self._no_key,
            "dmarc": self._dmarc,
            "mta_sts": self._mta_sts,
            "tls_rpt": self._tls_rpt,
            "tlsa": self._tlsa,
            "srv": self._srv,
            "host": self._alias,
            "mailx": self._mailx,
            "unwanted": self._unwanted,
        }

    async def check(self, page: Page, until: "Deferred[None] | None" = None) -> list[Finding]:
        """A finding for each record of ``page``, and for the reverse names of this server's addresses.

        What is not answered when ``until`` fires cannot be checked.
        """
        self._resolver.clear()  # whoever asks has just changed something
        asked: list[Deferred[Any]] = []
        if until is not None:
            until.addCallback(_cancel, asked)

        def ask(work: Coroutine[Any, Any, T]) -> "Deferred[T]":
            asked.append(asking := Deferred.fromCoroutine(work))
            return asking

        findings = [ask(self._one(record)) for record in page.records]
        reverse = await ask(self._reverse())
        findings[2:2] = [ask(self._one(record)) for record in reverse]
        return [await finding for finding in findings]

    async def lacks(self, keys: Sequence[Key]) -> list[Key]:
        """Those of ``keys`` whose records the world does not see as they should be; raises DNSFailure."""
        self._resolver.clear()
        return [key for key in keys if not any(publishes(text, key.algorithm, key.public) for text in await self._texts(key.name))]

    async def _one(self, record: Record) -> Finding:
        try:
            return await self._rules[record.rule](record)
        except DNSFailure:
            return Finding(record, UNKNOWN, remark="DNS gives no answer.")
        except CancelledError:
            return Finding(record, UNKNOWN, remark="DNS gave no answer in time.")

    async def _reverse(self) -> list[Record]:
        try:
            addresses = await self._resolver.addresses(self._host)
        except (DNSFailure, CancelledError):
            return []
        purpose = "The name of this server's address: many refuse mail without it. Whoever gives out the address sets it."
        return [Record(reverse_name(address), "PTR", f"{self._host}.", purpose, "required", "ptr") for address in addresses[:_ADDRESSES]]

    async def _texts(self, name: str) -> list[bytes]:
        return await self._resolver.texts(name)

    async def _mx(self, record: Record) -> Finding:
        found = await self._resolver.mx(record.name)
        seen = _shown(f"{each.preference} {each.host.removesuffix('.')}." for each in found)
        if not found:
            return Finding(record, MISSING)
        if not any(each.host == self._host for each in found):
            return Finding(record, DIFFERENT, seen, "Mail for the domain goes elsewhere.")
        if found[0].host != self._host:
            return Finding(record, OK, seen, "Another server is preferred.")
        return Finding(record, OK, seen)

    async def _address(self, record: Record) -> Finding:
        found = await self._resolver.addresses(record.name)
        if not found:
            return Finding(record, MISSING)
        same = record.value == THIS_SERVER or record.value in found
        return Finding(record, OK if same else DIFFERENT, _shown(found))

    async def _ptr(self, record: Record) -> Finding:
        names = (await self._resolver.query(record.name, "PTR")).records
        if not names:
            return Finding(record, MISSING)
        return Finding(record, OK if self._host in names else DIFFERENT, _shown(f"{name}." for name in names))

    async def _spf(self, record: Record) -> Finding:
        texts = [text for text in await self._texts(record.name) if spf_reading.is_spf(text)]
        if not texts:
            return Finding(record, MISSING)
        seen = _shown_texts(texts)
        if len(texts) > 1:
            return Finding(record, DIFFERENT, seen, "There must be only one: with several none counts (RFC 7208 4.5).")
        addresses = await self._resolver.addresses(self._host)
        if not addresses:
            return Finding(record, UNKNOWN, seen, f"{self._host} has no address that could be looked for.")
        results = [await spf_reading.authorises(self._resolver, record.name, address) for address in addresses[:_ADDRESSES]]
        worst = next((result for result in results if result != spf_reading.PASS), spf_reading.PASS)
        if worst == spf_reading.PASS:
            loose = bool({b"+all", b"all"} & set(texts[0].lower().split()))
            return Finding(record, OK, seen, "It lets everybody send in the name of the domain." if loose else "")
        if spf_reading.UNKNOWN in results:
            return Finding(record, UNKNOWN, seen, "It hangs on more than the address.")
        return Finding(record, DIFFERENT, seen, f"Mail from this server gets {worst}.")

    async def _dkim(self, record: Record) -> Finding:
        texts = await self._texts(record.name)
        if not texts:
            return Finding(record, MISSING)
        wanted = _tags(record.value.encode("ascii"))
        same = len(texts) == 1 and publishes(texts[0], f"{wanted['k']}-sha256", wanted["p"])
        return Finding(record, OK if same else DIFFERENT, _shown_texts(texts), "" if same else "Signatures with this key do not verify.")

    async def _no_key(self, record: Record) -> Finding:
        return Finding(record, MISSING)

    async def _dmarc(self, record: Record) -> Finding:
        domain = record.name.removeprefix("_dmarc.")
        found: list[tuple[str, dmarc.Record]] = []
        for name in dmarc.parents(domain):
            texts = [text for text in await self._texts(f"_dmarc.{name}") if dmarc.read(text) is not None]
            policies = list(filter(None, map(dmarc.read, texts)))
            if name == domain and policies:
                good = len(policies) == 1 and policies[0].applies
                return Finding(record, OK if good else DIFFERENT, _shown_texts(texts), "" if good else _ONE_POLICY)
            if len(policies) == 1:
                found.append((name, policies[0]))
                if policies[0].psd in ("y", "n"):
                    break
        policy, holder = dmarc.applicable(domain, found)  # RFC 9989 4.10.1: a record above holds for what is below
        if policy is None or not policy.applies or "." not in holder:  # older verifiers ask no top-level domain
            return Finding(record, MISSING)
        return Finding(record, OK, _shown_texts(await self._texts(f"_dmarc.{holder}")), f"Inherited from _dmarc.{holder}.")

    async def _mta_sts(self, record: Record) -> Finding:
        return await self._versioned(record, "STSv1", "id")

    async def _tls_rpt(self, record: Record) -> Finding:
        return await self._versioned(record, "TLSRPTv1", "rua")

    async def _versioned(self, record: Record, version: str, tag: str) -> Finding:
        """A record that others may fill in otherwise: what counts is that it is there, alone, with its ``tag``."""
        texts = [text for text in await self._texts(record.name) if _tags(text).get("v") == version]
        if not texts:
            return Finding(record, MISSING)
        good = len(texts) == 1 and bool(_tags(texts[0]).get(tag))
        return Finding(record, OK if good else DIFFERENT, _shown_texts(texts))

    async def _tlsa(self, record: Record) -> Finding:
        answer = await self._resolver.query(record.name, "TLSA")
        seen = _shown(f"{each.usage} {each.selector} {each.matching} {each.data.hex()}" for each in answer.records)
        if not answer.records:
            return Finding(record, MISSING)
        if record.value not in seen:
            return Finding(record, DIFFERENT, seen, "Servers that heed DANE cannot deliver here.")
        return Finding(record, OK, seen, self._signed(answer))

    def _signed(self, answer: Answer) -> str:
        if answer.secure:
            return ""
        if self._resolver.validating:
            return "The zone is not signed: nobody heeds it."
        return "Whether the zone is signed can be told only with dns.validating."

    async def _srv(self, record: Record) -> Finding:
        records = [str(each).lower() for each in (await self._resolver.query(record.name, "SRV")).records]
        seen = _shown(records)
        offered = [each for each in records if each.split()[-1] != "."]  # a target "." says that there is none (RFC 2782)
        if record.need == UNWANTED:
            return Finding(record, UNNECESSARY if offered else OK, seen)
        if not records:
            return Finding(record, MISSING)
        wanted = record.value.split()[2:]
        return Finding(record, OK if any(each.split()[2:] == wanted for each in offered) else DIFFERENT, seen)

    async def _alias(self, record: Record) -> Finding:
        answer = await self._resolver.query(record.name, "CNAME")
        addresses = await self._resolver.addresses(record.name)
        if not addresses:
            return Finding(record, MISSING, _shown(f"{name}." for name in answer.records))
        return Finding(record, OK, _shown(f"{name}." for name in answer.records) or _shown(addresses))

    async def _mailx(self, record: Record) -> Finding:
        answer = await self._resolver.query(record.name, "TXT")
        texts = await self._texts(record.name)
        ours = [text for each in texts if documents.is_record(text := each.decode("utf-8", "replace"))]
        seen = _shown_texts(texts)
        if not ours:
            return Finding(record, MISSING, seen)
        if len(ours) > 1:
            return Finding(record, DIFFERENT, seen, "There must be one record of this kind: others find none.")
        try:
            found, wanted = documents.parse_record(ours[0]), documents.parse_record(record.value)
        except Malformed as error:
            return Finding(record, DIFFERENT, seen, f"Other servers cannot read it: {error}.")
        if found.key != wanted.key:
            return Finding(record, DIFFERENT, seen, "It has another key than the domain has now: other servers may refuse it.")
        if found.servers != wanted.servers:
            return Finding(record, DIFFERENT, seen, "It leads to other servers.")
        unsigned = self._resolver.validating and not answer.secure
        return Finding(record, OK, seen, "The zone is not signed: others take the key from the domain's website." if unsigned else "")

    async def _unwanted(self, record: Record) -> Finding:
        texts = await self._texts(record.name)
        return Finding(record, UNNECESSARY if texts else OK, _shown_texts(texts))


def _cancel(_: None, asked: "list[Deferred[Any]]") -> None:
    for asking in asked:
        asking.cancel()


def _tags(text: bytes) -> dict[str, str]:
    try:
        return parse(text.decode("utf-8"))
    except (MalformedTags, UnicodeDecodeError):
        return {}


def reverse_name(address: str) -> str:
    """Where the PTR record of an IP address stands (RFC 1035 3.5, RFC 3596 2.5)."""
    return ip_address(address).reverse_pointer


def _shown(texts: Iterable[str]) -> tuple[str, ...]:
    """``texts`` as an administrator sees them: some of them, each to a certain length, nothing that a terminal obeys."""
    kept = [each for _, each in zip(range(_SHOWN), texts, strict=False)]
    return tuple(printable(each[:_SHOWN_LENGTH]) for each in kept)


def _shown_texts(texts: Iterable[bytes]) -> tuple[str, ...]:
    return _shown(quoted(text.decode("utf-8", "replace")) for text in texts)
