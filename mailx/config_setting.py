"""What a setting is: the metadata of its declaration, the forms that its text may have, and how some of them are read."""

import re
from ipaddress import ip_address
from typing import Any, Literal

from attrs import field

# What a text may be beyond being text, in words; mailx.config_value checks each.
Form = Literal[
    "",
    "hostname",
    "domain",
    "pattern",
    "interface",
    "source",
    "network",
    "endpoint",
    "address",
    "loopback",
    "duration",
    "host",
    "url",
    "mailbox",
    "percent",
    "store",
    "path",
    "data path",
]
FORMS: dict[Form, str] = {
    "": "a text",
    "hostname": "a host name",
    "domain": "a domain, or empty",
    "pattern": "a domain, or *.domain for all below it",
    "interface": "an IP address",
    "source": "an IP address, or empty",
    "network": "a network such as 192.0.2.0/24",
    "endpoint": "a host name or IP address with or without a port: mail.example.org:587, 127.0.0.1, [::1]:53",
    "address": "an IP address with or without a port: 192.0.2.53, 127.0.0.1:53, [::1]:53",
    "loopback": "a loopback address with or without a port, or empty: 127.0.0.1, [::1]:5353",
    "duration": "a duration such as 30s, 5m, 2h or 1d",
    "host": "a host name or IP address, or empty",
    "url": "an http or https URL, or empty",
    "mailbox": "a mail address",
    "percent": "a whole number of percent from 1 to 100",
    "store": "sqlite:FILE or postgresql://user@host/database",
    "path": "a path, relative to the configuration file",
    "data path": "a path, relative to the data directory",
}


def setting(
    default: Any,
    help: str,
    *,
    secret: bool = False,
    least: int | None = None,
    most: int | None = None,
    choices: tuple[str, ...] = (),
    form: Form = "",
    live: bool = False,
    reread: bool = False,
) -> Any:
    """An attrs field with the metadata that the checks, the reference page and the panel read.

    ``least`` and ``most`` bound a number, ``choices`` and ``form`` a text (or each of a list of texts). A
    ``"path"`` is relative to the configuration file, a ``"data path"`` to the data directory; both are absolute
    once read. A ``secret`` is never shown, and may come from the file that its neighbour ``NAME_file`` names. A ``live`` one may be
    changed while the server runs: its value in the database holds where neither file nor environment sets it. A change of
    one that is ``reread`` (or live) in the file acts when the running server reads that again; others need a restart.
    """
    metadata = {"help": help, "secret": secret, "least": least, "most": most, "choices": choices, "form": form}
    metadata |= {"live": live, "reread": live or reread}
    if isinstance(default, (list, tuple)):
        return field(factory=lambda: tuple(default), metadata=metadata)
    return field(default=default, metadata=metadata, repr=not secret)


_DURATION = re.compile(r"([0-9]{1,7})([smhd])\Z")


def seconds(duration: str) -> int:
    """``"5m"`` as 300, ``""`` as 0; raises ValueError."""
    if not duration:
        return 0
    found = _DURATION.match(duration)
    if found is None:
        raise ValueError(f"{duration!r} is no duration")
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def endpoint(text: str, port: int) -> tuple[str, int]:
    """Host and port of an endpoint; ``port`` where it names none: ``mail.example.org:587``, ``192.0.2.1``, ``[::1]:25``, ``::1``."""
    host, colon, digits = text.rpartition(":")
    bare = not colon or text.endswith("]") or (":" in host and not host.endswith("]"))
    if bare or not (digits.isascii() and digits.isdigit()):
        host = text
    else:
        port = int(digits)
    return host.removeprefix("[").removesuffix("]"), port


def is_loopback(interface: str) -> bool:
    """Whether only this machine reaches what binds to ``interface``."""
    return ip_address(interface).is_loopback
