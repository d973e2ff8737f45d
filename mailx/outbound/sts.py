"""MTA-STS (RFC 8461): the policies of domains, read strictly, remembered for as long as they say, refreshed while they are used.

A policy that cannot be fetched, or read, does not replace the one that is known; without one the domain has none. Nothing here
raises for a reason of the domain's.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.cache import Cache
from mailx.core.remembered import JSON, Remembered, record
from mailx.core.resolver import DNSFailure
from mailx.mail.reply import Unavailable
from mailx.outbound.mx import Lookups

log = Logger()

ENFORCE, TESTING, NONE = "enforce", "testing", "none"

# RFC 8460 4.3.2.2: why there is no (new) policy.
FETCH_ERROR = "sts-policy-fetch-error"
INVALID = "sts-policy-invalid"
WEBPKI_INVALID = "sts-webpki-invalid"

PATTERNS_LIMIT = 100
AGE_MOST = 31557600  # RFC 8461 3.2
_REFRESH_AFTER = 86400.0  # RFC 8461 3.3: a policy in use is read again long before it ends
_RETRY_AFTER = 300.0  # RFC 8461 3.3: not too often after a failure
_FAILED_SIZE = 10000
_KIND = "sts"

_TXT = re.compile(r"v=STSv1[ \t]*;(.*)\Z", re.S)
_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}\Z")
_AGE = re.compile(r"[0-9]{1,10}\Z")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\Z")


class PolicyError(ValueError):
    """The text is no policy."""


class NotFetched(Exception):
    """The policy was not fetched; ``failure`` is a result type of RFC 8460 4.3."""

    def __init__(self, failure: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason


class Fetch(Protocol):
    """Fetches the text of a domain's policy: :class:`mailx.outbound.sts_fetch.Fetcher`."""

    async def fetch(self, domain: str) -> str:
        """Raises NotFetched."""


@frozen
class Policy:
    """A policy. ``mx`` are host names, or ``*.`` and a domain for one label before it; lower case."""

    mode: str
    mx: tuple[str, ...]
    max_age: int

    def matches(self, host: str) -> bool:
        """Whether the mail exchanger ``host`` is one of those it names (RFC 8461 4.1)."""
        _, _, parent = host.partition(".")
        return any(pattern == host or (pattern.startswith("*.") and pattern[2:] == parent) for pattern in self.mx)

    def lines(self) -> list[str]:
        """The policy as reports quote it (RFC 8460 4.4)."""
        return ["version: STSv1", f"mode: {self.mode}", *[f"mx: {each}" for each in self.mx], f"max_age: {self.max_age}"]


@frozen
class Standing:
    """How a domain stands: its policy if it has one, and why it could not be read anew, if so."""

    policy: Policy | None = None
    failure: str = ""


WITHOUT = Standing()


def parse(text: str) -> Policy:
    """The policy that ``text`` is (RFC 8461 3.2); raises PolicyError. Of a field given twice the first counts, mx adds up."""
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in re.split(r"\r?\n", text):
        if not line.strip(" \t"):
            continue
        key, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not _KEY.match(key) or not value or any(character < " " and character != "\t" for character in value):
            raise PolicyError("a line is no field")
        if key != "mx":
            fields.setdefault(key, value)
            continue
        pattern = value.lower().removesuffix(".")
        if not _PATTERN.match(pattern) or len(pattern) > 253:
            raise PolicyError("an mx is no host name")
        patterns.append(pattern)
    if fields.get("version") != "STSv1":
        raise PolicyError("the version is not STSv1")
    mode, age = fields.get("mode", ""), fields.get("max_age", "")
    if mode not in (ENFORCE, TESTING, NONE):
        raise PolicyError("the mode is unknown")
    if not _AGE.match(age):
        raise PolicyError("max_age is no number")
    patterns = list(dict.fromkeys(patterns))
    if not patterns and mode != NONE:
        raise PolicyError("no mx is named")
    if len(patterns) > PATTERNS_LIMIT:
        raise PolicyError("too many mx are named")
    return Policy(mode, tuple(patterns), min(int(age), AGE_MOST))


def identifier(records: list[bytes]) -> str:
    """The id in the TXT records at ``_mta-sts`` (RFC 8461 3.1); empty if they announce no policy."""
    found = [match for each in records if (match := _TXT.match(each.decode("ascii", "replace")))]
    if len(found) != 1:
        return ""
    for field in found[0][1].split(";"):
        key, _, value = field.strip(" \t").partition("=")
        if key.strip(" \t") == "id":
            value = value.strip(" \t")
            return value if _ID.match(value) else ""
    return ""


class Policies:
    """The policies of other domains. ``now`` gives seconds since 1970."""

    def __init__(self, resolver: Lookups, remembered: Remembered, fetch: Fetch, now: Callable[[], float]) -> None:
        self._resolver = resolver
        self._remembered = remembered
        self._fetch = fetch
        self._now = now
        self._failed: Cache[tuple[str, str], str] = Cache(_FAILED_SIZE, _RETRY_AFTER, now)
        self._fetching: dict[str, list[Deferred[str]]] = {}

    async def standing(self, domain: str) -> Standing:
        """How ``domain`` (A-labels) stands now; a policy that is announced and not yet known is fetched first."""
        kept = record(await self._remembered.get(_KIND, domain))
        known = _restored(kept)
        try:
            announced = identifier(list((await self._resolver.query(f"_mta-sts.{domain}", "TXT")).records))
        except DNSFailure:
            announced = ""
        if not announced:  # what was promised holds on
            return Standing(known) if known is not None else WITHOUT
        if known is not None and kept.get("id") == announced:
            if self._now() - kept["fetched"] > min(_REFRESH_AFTER, known.max_age / 2):
                Deferred.fromCoroutine(self._renew(domain, announced, kept["fetched"])).addErrback(self._not_renewed)
            return Standing(known)
        failure = await self._renew(domain, announced, kept.get("fetched", 0))
        return Standing(_restored(record(await self._remembered.get(_KIND, domain))), failure)

    async def _renew(self, domain: str, announced: str, seen: float) -> str:
        """Fetch the policy and remember it, unless a newer one than that ``seen`` is there by now; returns why not, "" if it was.

        One fetch at a time for a domain.
        """
        failed = self._failed.get((domain, announced))
        if failed is not None:
            return failed
        if domain in self._fetching:
            waiter: Deferred[str] = Deferred()
            self._fetching[domain].append(waiter)
            return await waiter
        self._fetching[domain] = []
        failure = FETCH_ERROR
        try:
            kept = record(await self._remembered.get(_KIND, domain))
            newer = kept.get("id") == announced and kept["fetched"] > seen
            failure = "" if newer else await self._renewed(domain, announced)
        finally:
            if failure:
                self._failed.put((domain, announced), failure)
            for waiter in self._fetching.pop(domain):
                waiter.callback(failure)
        return failure

    async def _renewed(self, domain: str, announced: str) -> str:
        try:
            policy = parse(await self._fetch.fetch(domain))
        except NotFetched as error:
            log.warn("An MTA-STS policy was not fetched", event="sts.not_fetched", domain=domain, reason=error.reason)
            return error.failure
        except PolicyError as error:
            log.warn("An MTA-STS policy is malformed", event="sts.malformed", domain=domain, reason=str(error))
            return INVALID
        except Exception:  # a fault of ours must not keep the domain's mail back
            log.failure("An MTA-STS policy was not fetched", event="sts.failed", domain=domain)
            return FETCH_ERROR
        now = self._now()
        kept: JSON = {"id": announced, "fetched": now, "mode": policy.mode, "mx": list(policy.mx), "max_age": policy.max_age}
        try:
            await self._remembered.put(_KIND, domain, kept, now + policy.max_age)
        except Unavailable:
            pass  # it holds in memory
        return ""

    def _not_renewed(self, failure: Failure) -> None:
        log.failure("An MTA-STS policy was not refreshed", failure, event="sts.failed")


def _restored(kept: dict[str, Any]) -> Policy | None:
    return Policy(kept["mode"], tuple(kept["mx"]), kept["max_age"]) if kept else None
