"""TLS reporting (RFC 8460), the sender's part: how sessions with each domain went, counted by day and policy.

Kept only for domains that ask for reports by a record at ``_smtp._tls``. Counts are held in memory for a minute, then merged
into what is remembered; a crash loses that minute. ``report`` makes the report of a day. Failure of the store costs counts only.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from attrs import Factory, define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailx.core.remembered import JSON, Remembered, record
from mailx.mail.reply import Unavailable

log = Logger()

STS, TLSA, NO_POLICY = "sts", "tlsa", "no-policy-found"  # policy types, RFC 8460 4.4
FLUSH_SECONDS = 60.0
KEEP_DAYS = 8
_POLICIES_LIMIT = 20  # of one domain and day
_DETAILS_LIMIT = 100  # of one policy
_RUA_LIMIT = 10
_PENDING_LIMIT = 10000  # domains, until the next flush
_DAY = 86400

_TXT = re.compile(r"v=TLSRPTv1[ \t]*;(.*)\Z", re.S)


@frozen
class Applied:
    """The policy that a session was held to."""

    type: str = NO_POLICY
    lines: tuple[str, ...] = ()  # the policy, line by line; TLSA records in presentation form
    hosts: tuple[str, ...] = ()  # the mx patterns of the policy, or the host that TLSA records stand at


@define
class _Counts:
    """Of one domain and policy."""

    successes: int = 0
    failures: dict[tuple[str, str, str], int] = Factory(dict)  # (result type, host, address) -> sessions


@frozen
class Report:
    """The report of one day for one domain, and where it wants it: ``mailto:`` and ``https:`` URIs."""

    domain: str
    places: tuple[str, ...]
    content: Mapping[str, Any]


def places(records: list[bytes]) -> tuple[str, ...]:
    """Where the TXT records at ``_smtp._tls`` want reports (RFC 8460 3); empty if nowhere."""
    found = [match for each in records if (match := _TXT.match(each.decode("ascii", "replace")))]
    if len(found) != 1:
        return ()
    for field in found[0][1].split(";"):
        key, _, value = field.strip(" \t").partition("=")
        if key.strip(" \t") == "rua":
            uris = [uri.strip(" \t") for uri in value.split(",")]
            return tuple([uri for uri in uris if re.match(r"(?:mailto:|https://)[\x21-\x7e]{1,500}\Z", uri)][:_RUA_LIMIT])
    return ()


class TLSReports:
    """Counts sessions. ``now`` gives seconds since 1970."""

    def __init__(self, remembered: Remembered, reactor: Any, now: Callable[[], float]) -> None:
        self._remembered = remembered
        self._reactor = reactor
        self._now = now
        self._pending: dict[tuple[str, str], dict[Applied, _Counts]] = {}  # (day, domain)
        self._places: dict[tuple[str, str], tuple[str, ...]] = {}
        self._due: IDelayedCall | None = None

    def success(self, domain: str, places: tuple[str, ...], applied: Applied) -> None:
        """A session with ``domain`` came about as ``applied`` asks for."""
        counts = self._counts(domain, places, applied)
        if counts is not None:
            counts.successes += 1

    def failure(self, domain: str, places: tuple[str, ...], applied: Applied, result: str, host: str = "", address: str = "") -> None:
        """A session did not, or would not have; ``result`` is a result type of RFC 8460 4.3."""
        counts = self._counts(domain, places, applied)
        if counts is not None and ((result, host, address) in counts.failures or len(counts.failures) < _DETAILS_LIMIT):
            counts.failures[result, host, address] = counts.failures.get((result, host, address), 0) + 1

    async def stop(self) -> None:
        """Write what is counted."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        await self._flush()

    async def report(self, day: str, organization: str, contact: str) -> list[Report]:
        """The reports of ``day`` ("2026-11-20", UTC), one for each domain, as RFC 8460 4.4 wants them. Raises Unavailable."""
        await self._flush()
        return [_report(day, domain, record(kept), organization, contact) for domain, kept in await self._remembered.all(_kind(day))]

    def _counts(self, domain: str, places: tuple[str, ...], applied: Applied) -> _Counts | None:
        if not places:
            return None
        key = (datetime.fromtimestamp(self._now(), UTC).date().isoformat(), domain)
        policies = self._pending.get(key)
        if policies is None:
            if len(self._pending) >= _PENDING_LIMIT:
                return None
            policies = self._pending[key] = {}
            self._places[key] = places
            if self._due is None:
                self._due = self._reactor.callLater(FLUSH_SECONDS, self._begin)
        if applied not in policies and len(policies) >= _POLICIES_LIMIT:
            return None
        return policies.setdefault(applied, _Counts())

    def _begin(self) -> None:
        self._due = None
        Deferred.fromCoroutine(self._flush()).addErrback(self._failed)

    async def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        places, self._places = self._places, {}
        until = self._now() + KEEP_DAYS * _DAY
        for (day, domain), policies in pending.items():
            merge = partial(_merged, added=_plain(policies), places=list(places[day, domain]))
            try:
                await self._remembered.change(_kind(day), domain, merge, until)
            except Unavailable:
                log.warn("Counts for TLS reports were not written", event="tls_report.not_written")
                return

    def _failed(self, failure: Failure) -> None:
        log.failure("Counts for TLS reports were lost", failure, event="tls_report.failed")


def _kind(day: str) -> str:
    return f"tls-report {day}"


def _plain(policies: Mapping[Applied, _Counts]) -> dict[str, Any]:
    """Counts as JSON, by policy."""
    return {
        json.dumps([applied.type, applied.lines, applied.hosts]): {
            "successes": counts.successes,
            "failures": {json.dumps(detail): sessions for detail, sessions in counts.failures.items()},
        }
        for applied, counts in policies.items()
    }


def _merged(value: JSON, *, added: Mapping[str, Any], places: list[JSON]) -> JSON:
    """The counts in ``value`` and ``added`` together. Pure: it may run twice."""
    policies: dict[str, Any] = dict(record(record(value).get("policies")))
    for applied, counts in added.items():
        before = policies.get(applied)
        if before is None and len(policies) >= _POLICIES_LIMIT:
            continue
        failures = dict(before["failures"]) if before else {}
        for detail, sessions in counts["failures"].items():
            if detail in failures or len(failures) < _DETAILS_LIMIT:
                failures[detail] = failures.get(detail, 0) + sessions
        policies[applied] = {"successes": counts["successes"] + (before["successes"] if before else 0), "failures": failures}
    return {"places": places, "policies": policies}


def _report(day: str, domain: str, kept: Mapping[str, Any], organization: str, contact: str) -> Report:
    policies = []
    for applied, counts in record(kept.get("policies")).items():
        kind, lines, hosts = json.loads(applied)
        details = []
        for detail, sessions in counts["failures"].items():
            result, host, address = json.loads(detail)
            told = {"result-type": result, "receiving-mx-hostname": host, "receiving-ip": address}
            details.append({**{name: text for name, text in told.items() if text}, "failed-session-count": sessions})
        policy = {"policy-type": kind, "policy-string": lines, "policy-domain": domain, "mx-host": hosts}
        entry: dict[str, Any] = {
            "policy": {name: value for name, value in policy.items() if value},
            "summary": {
                "total-successful-session-count": counts["successes"],
                "total-failure-session-count": sum(counts["failures"].values()),
            },
        }
        policies.append({**entry, "failure-details": details} if details else entry)
    content = {
        "organization-name": organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": contact,
        "report-id": f"{day}.{domain}",
        "policies": policies,
    }
    return Report(domain, tuple(kept.get("places") or ()), content)
