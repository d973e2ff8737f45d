"""The Authentication-Results field (RFC 8601): what the checks found, in the words of authres. Pure.

Only names that are names go into it: whatever a stranger wrote that is more than a host name or a plain address is left out,
so that nothing can pretend to be a result.
"""

import re
from collections.abc import Sequence

from authres import AuthenticationResult
from authres.core import AuthenticationResultProperty

from mailx.checks import arc, dkim, dmarc, spf
from mailx.mail.address import Address

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\Z")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_FIELD = b"Authentication-Results: "


def of_spf(verdict: spf.Verdict, sender: Address | None) -> AuthenticationResult:
    """smtp.mailfrom or smtp.helo, whichever identity was checked."""
    value = ""
    if _NAME.match(verdict.domain):
        local = sender.local if sender is not None and _LOCAL.match(sender.local) else ""
        value = f"{local}@{verdict.domain}" if local and verdict.identity == "mailfrom" else verdict.domain
    return _result("spf", verdict.result, verdict.reason, ("smtp", verdict.identity, value))


def of_dkim(verdict: dkim.Verdict) -> AuthenticationResult:
    """header.d, .s, .a and .b; one result for each signature."""
    return _result(
        "dkim",
        verdict.result,
        verdict.reason,
        ("header", "d", verdict.domain),
        ("header", "s", verdict.selector),
        ("header", "a", verdict.algorithm),
        ("header", "b", verdict.shown),
    )


def of_arc(verdict: arc.Verdict, address: str) -> AuthenticationResult:
    """smtp.remote-ip as RFC 8617 10.2 has it, and who sealed last."""
    newest = verdict.sealers[-1] if verdict.sealers else ""
    return _result("arc", verdict.result, verdict.reason, ("smtp", "remote-ip", address), ("header", "as-d", newest))


def of_dmarc(verdict: dmarc.Verdict, reason: str) -> AuthenticationResult:
    """header.from, and policy.dmarc where a policy applies (RFC 9989 9.1)."""
    policy = verdict.policy if verdict.result in ("pass", "fail") else ""
    return _result("dmarc", verdict.result, reason, ("header", "from", verdict.domain), ("policy", "dmarc", policy))


def nothing(method: str) -> AuthenticationResult:
    """A check that had nothing to look at."""
    return AuthenticationResult(method, result="none")


def _result(method: str, result: str, reason: str, *properties: tuple[str, str, str]) -> AuthenticationResult:
    made = [AuthenticationResultProperty(kind, name, value) for kind, name, value in properties if value]
    return AuthenticationResult(method, result=result, reason=reason, properties=made)


def value(results: Sequence[AuthenticationResult]) -> str:
    """What stands behind the server's name."""
    return "; ".join([str(result) for result in results]) or "none"


def header(hostname: str, results: Sequence[AuthenticationResult]) -> bytes:
    """The whole field of the server ``hostname``, a line for each result."""
    lines = [str(result) for result in results] or ["none"]
    return _FIELD + ";\r\n\t".join([hostname, *lines]).encode("ascii", "replace") + b"\r\n"
