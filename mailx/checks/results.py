"""The Authentication-Results field (RFC 8601): what the checks found, in the words of authres. Pure.

Only names that are names go into it: whatever a stranger wrote that is more than a host name or a plain address is left out,
so that nothing can pretend to be a result. What needs quoting stands last: some readers, authres among them, take nothing
behind a quoted value.
"""

import re
from collections.abc import Sequence

from authres import AuthenticationResult
from authres.core import AuthenticationResultProperty

from mailx.checks import arc, dkim, dmarc, spf
from mailx.mail.address import Address

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\Z")
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]+\Z")
_FIELD = b"Authentication-Results: "


def of_spf(verdict: spf.Verdict, sender: Address | None) -> AuthenticationResult:
    """smtp.mailfrom or smtp.helo, whichever identity was checked."""
    value = named(verdict.domain)
    if value and sender is not None and verdict.identity == "mailfrom" and _LOCAL.match(sender.local):
        value = f"{sender.local}@{value}"
    return _result("spf", verdict.result, verdict.reason, ("smtp", verdict.identity, value))


def of_dkim(verdict: dkim.Verdict) -> AuthenticationResult:
    """header.d, .s, .a and .b; one result for each signature."""
    return _result(
        "dkim",
        verdict.result,
        verdict.reason,
        ("header", "d", named(verdict.domain)),
        ("header", "s", named(verdict.selector)),
        ("header", "a", named(verdict.algorithm)),
        ("header", "b", verdict.shown if _BASE64.match(verdict.shown) else ""),
    )


def of_arc(verdict: arc.Verdict, address: str) -> AuthenticationResult:
    """smtp.remote-ip as RFC 8617 10.2 has it, and who sealed last."""
    newest = named(verdict.sealers[-1]) if verdict.sealers else ""
    return _result("arc", verdict.result, verdict.reason, ("header", "as-d", newest), ("smtp", "remote-ip", address))


def of_dmarc(verdict: dmarc.Verdict, reason: str) -> AuthenticationResult:
    """header.from, and policy.dmarc where a policy applies (RFC 9989 9.1)."""
    policy = verdict.policy if verdict.result in ("pass", "fail") else ""
    return _result("dmarc", verdict.result, reason, ("header", "from", named(verdict.domain)), ("policy", "dmarc", policy))


def nothing(method: str) -> AuthenticationResult:
    """A check that had nothing to look at."""
    return AuthenticationResult(method, result="none")


def named(text: str) -> str:
    """``text`` if it is a name, else nothing."""
    return text if _NAME.match(text) else ""


def _result(method: str, result: str, reason: str, *properties: tuple[str, str, str]) -> AuthenticationResult:
    made = [AuthenticationResultProperty(kind, name, value) for kind, name, value in properties if value]
    return AuthenticationResult(method, result=result, reason=reason, properties=made)


def value(results: Sequence[str]) -> str:
    """What stands behind the server's name, on one line; ``results`` in words."""
    return "; ".join(results) or "none"


def header(hostname: str, results: Sequence[str]) -> bytes:
    """The whole field of the server ``hostname``, a line for each of ``results``."""
    return _FIELD + ";\r\n\t".join([hostname, *(results or ["none"])]).encode("ascii", "replace") + b"\r\n"
