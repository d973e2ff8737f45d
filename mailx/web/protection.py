"""What every answer carries, and which requests are no business of ours: headers against misuse by other sites.

Pure: names and headers in, a verdict out.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from mailx.mail.networks import is_address

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'; connect-src 'self'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer browsers send forms with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_SECURE_HEADERS = _HEADERS | {"strict-transport-security": "max-age=31536000"}

_PLACE = re.compile(r"/(?![/\\])[A-Za-z0-9._~!$&'()+*,;=:@%/?-]{0,1000}\Z")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?\Z")


def headers(secure: bool) -> Mapping[str, str]:
    """The headers of every answer; ``secure``: the browser came by TLS."""
    return _SECURE_HEADERS if secure else _HEADERS


def host_name(host: str) -> str:
    """The name in a Host header, in lower case and without the port; "" when it is none."""
    found = _HOST.match(host)
    return "" if found is None else found[1].strip("[]").lower().removesuffix(".")


def host_known(name: str, names: Iterable[str]) -> bool:
    """Whether a browser may call us ``name``: a name of ours, ``localhost``, or an address, which DNS cannot rebind.

    A page elsewhere whose name suddenly leads here (DNS rebinding) sends that name.
    """
    return name == "localhost" or name.endswith(".localhost") or name in names or is_address(name)


def same_origin(headers: Mapping[str, str], host: str, secure: bool) -> bool:
    """Whether a POST comes from a page of ours, as far as its browser tells; programs tell nothing and pass.

    ``host`` is the Host header as sent. Opaque origins ("null") are nobody's. Where we are not known to be behind TLS a
    proxy may still be there that does not say so: then the name alone must be right.
    """
    origin = headers.get("origin")
    if origin is not None:
        scheme, _, name = origin.lower().partition("://")
        return _bare(name) == _bare(host.lower()) and (scheme == "https" or (scheme == "http" and not secure))
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    referer = headers.get("referer")
    try:
        return referer is None or _bare(urlsplit(referer).netloc.lower()) == _bare(host.lower())
    except ValueError:
        return False


def _bare(netloc: str) -> str:
    """A host and port without the ports that browsers leave out."""
    return netloc.removesuffix(":443").removesuffix(":80")


def place(text: str) -> str:
    """``text`` if it is a path within the panel, else "/": no ``next`` ever leads elsewhere."""
    return text if _PLACE.match(text) else "/"


def inner(location: str) -> str:
    """``location`` of a page of ours, else "/": whatever a name within it holds, it does not lead elsewhere."""
    return location if location.startswith("/") and location[1:2] not in ("/", "\\") and location.isprintable() else "/"
