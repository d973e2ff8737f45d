"""What only the settings together can tell: ports that meet, relays without hosts, a panel that everybody reaches.

``check`` looks at values alone and holds for the file, the environment and the database alike; ``check_files`` looks at the
disk, when file and environment are read.
"""

import os
import re
from collections.abc import Callable, Collection
from pathlib import Path

from mailx.config import SMARTHOST, Config, is_loopback, listeners
from mailx.mail.compose import NAME_LIMIT, ComposeError, checked

_SOCKET_LIMIT = 107  # sockaddr_un holds 108 octets with the final NUL
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")  # RFC 5322 3.2.3
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}\Z")
_NO_SITE = re.compile(r'[?#<>"\\^`{|}]')
_KEY = re.compile(r"ed25519:[A-Za-z0-9_-]{43}\Z")
_LOCAL = 64  # octets of a local part (RFC 5321 4.5.3.1.1)

Note = Callable[[str, object, str, str], None]  # key, value, what is wrong, remedy


def check(config: Config, note: Note, wrong: Collection[str]) -> None:
    """Tell ``note`` of every problem; ``wrong`` has the keys that have one already."""
    _check_ports(config, note, wrong)
    _check_routes(config, note, wrong)
    _check_smarthost(config, note, wrong)
    _check_webhook(config, note)
    _check_panel(config, note, wrong)
    _check_peers(config, note, wrong)
    for key, path in (("smtp.lmtp_socket", config.smtp.lmtp_socket), ("admin.socket", config.admin.socket)):
        if len(os.fsencode(path)) > _SOCKET_LIMIT:
            note(key, path, f"is longer than the {_SOCKET_LIMIT} octets of a socket's path", "set it to a short absolute path")


def check_files(config: Config, note: Note) -> None:
    """Tell ``note`` of every file that is missing or lies in the wrong place."""
    for place, certificate in enumerate(config.tls.certificates):
        for name in ("certificate_file", "key_file"):
            path = getattr(certificate, name)
            key = f"tls.certificates[{place}].{name}"
            if not path:
                note(key, path, "is missing", "name the PEM file")
            elif not Path(path).is_file():
                note(key, path, "is no file", "name an existing PEM file")
    authorities = config.federation.authorities
    if authorities and not Path(authorities).is_file():
        note("federation.authorities", authorities, "is no file", "name an existing PEM file")
    secret, data = Path(config.server.secret_file), Path(config.server.data)
    if secret.resolve().is_relative_to(data.resolve()):
        remedy = "put it elsewhere: whoever copies the data must not get its key"
        note("server.secret_file", config.server.secret_file, "lies in the data directory", remedy)


def _check_routes(config: Config, note: Note, wrong: Collection[str]) -> None:
    """Relays have hosts and a name of their own; routes name relays that exist."""
    names: set[str] = set()
    for place, relay in enumerate(config.outbound.relays):
        where = f"outbound.relays[{place}]"
        if not relay.name or relay.name in names:
            problem = "is the name of another relay" if relay.name else "is missing"
            note(f"{where}.name", relay.name or None, problem, "give each relay a name of its own")
        elif relay.name == SMARTHOST and config.smarthost.host:
            note(f"{where}.name", relay.name, "is what the host of [smarthost] is called", "give the relay another name")
        names.add(relay.name)
        if not relay.hosts:
            note(f"{where}.hosts", None, "is missing", 'name at least one: hosts = ["smtp.example.org"]')
        if bool(relay.username) != bool(relay.password) and f"{where}.password_file" not in wrong:
            missing = "password" if relay.username else "username"
            note(f"{where}.{missing}", None, "is missing", "set username and password, or neither")
    if config.smarthost.host:
        names.add(SMARTHOST)
    for place, route in enumerate(config.outbound.routes):
        if route.relay and route.relay not in names:
            known = ", ".join(sorted(names)) or "none is configured"
            note(f"outbound.routes[{place}].relay", route.relay, "is no relay", f"use one of outbound.relays ({known})")


def _check_peers(config: Config, note: Note, wrong: Collection[str]) -> None:
    """A static peer has all that would be looked for otherwise, and a domain has one."""
    domains: set[str] = set()
    for place, peer in enumerate(config.federation.peers):
        where = f"federation.peers[{place}]"
        if not peer.domain or peer.domain in domains:
            problem = "is the domain of another peer" if peer.domain else "is missing"
            note(f"{where}.domain", peer.domain or None, problem, "give each peer its domain, and several hosts to one")
        domains.add(peer.domain)
        if not peer.hosts and f"{where}.hosts" not in wrong:
            note(f"{where}.hosts", None, "is missing", 'name at least one: hosts = ["mx.example.org:2590"]')
        if not _KEY.match(peer.key):
            note(f"{where}.key", peer.key or None, "is no public key", "copy what `mailxctl key show` says on that server: ed25519:...")


def _check_smarthost(config: Config, note: Note, wrong: Collection[str]) -> None:
    smarthost = config.smarthost
    if bool(smarthost.username) != bool(smarthost.password) and "smarthost.password_file" not in wrong:
        missing = "password" if smarthost.username else "username"
        note(f"smarthost.{missing}", None, "is missing", "set username and password, or neither")


def _check_webhook(config: Config, note: Note) -> None:
    webhook = config.webhook
    if not _PREFIX.match(webhook.header_prefix):
        remedy = 'use letters, digits and hyphens, for example header_prefix = "X-TransLife"'
        note("webhook.header_prefix", webhook.header_prefix, "must be the beginning of a header's name", remedy)
    for name, parts in (("sender_local", (webhook.sender_local,)), ("allowed_local_parts", webhook.allowed_local_parts)):
        for part in parts:
            if not _ATOM.match(part) or len(part) > _LOCAL:
                note(f"webhook.{name}", part, "must be what may stand before the @", "use letters, digits, dots and hyphens: no-reply")
    if _NO_SITE.search(webhook.public_web_url):
        remedy = "write it without query and fragment: https://app.example.org"
        note("webhook.public_web_url", webhook.public_web_url, "is not the address of a site that links can begin with", remedy)
    try:
        checked("sender_name", webhook.sender_name, NAME_LIMIT)
    except ComposeError as error:
        note("webhook.sender_name", webhook.sender_name, f"cannot stand in a mail: {error}", "use a short name, in one line")


def _check_panel(config: Config, note: Note, wrong: Collection[str]) -> None:
    """The panel on an address that others reach is meant so, and nothing of it goes unencrypted."""
    panel = config.panel
    if not panel.port or "panel.interface" in wrong or is_loopback(panel.interface):
        return
    if not panel.expose:
        remedy = "set panel.expose = true if others are to reach the panel, or interface to 127.0.0.1"
        note("panel.interface", panel.interface, "is no loopback address", remedy)
    elif not (panel.tls or panel.proxies):
        remedy = "set panel.tls = true, or panel.proxies to the reverse proxy that does TLS"
        note("panel.expose", True, "would show the panel unencrypted", remedy)


def _check_ports(config: Config, note: Note, wrong: Collection[str]) -> None:
    """No two listeners may claim one port."""
    taken: dict[int, str] = {}
    for key, _, port in listeners(config):
        if port in taken and key not in wrong:
            note(key, port, f"is also the port of {taken[port]}", "give each listener its own port, or 0 to turn one off")
        taken.setdefault(port, key)
