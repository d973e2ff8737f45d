"""The very first start: one domain, one account, and what to tell the person who started it."""

import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from attrs import frozen

from mailx import __version__
from mailx.config import Config, listeners
from mailx.core.accounts import Accounts
from mailx.core.passwords import generate

FIRST_USER = "me"

_LOCALHOST = (ip_address("127.0.0.1"), ip_address("::1"))

_LABELS = {
    "smtp.port": "SMTP, mail from other servers",
    "smtp.submission_port": "SMTP submission, STARTTLS",
    "smtp.submissions_port": "SMTP submission, TLS",
    "smtp.lmtp_port": "LMTP",
    "imap.port": "IMAP, STARTTLS",
    "imap.tls_port": "IMAP, TLS",
    "pop3.port": "POP3, STLS",
    "pop3.tls_port": "POP3, TLS",
    "federation.port": "federation with other MailX",
    "federation.https_port": "public site (HTTPS)",
    "webhook.port": "webhook receiver",
    "panel.port": "control panel",
    "health.port": "health and metrics (HTTP)",
}


@frozen
class FirstAccount:
    """The account made at the first start, with the only copy of its password in the clear."""

    address: str
    password: str


async def first_account(accounts: Accounts, domain: str) -> FirstAccount | None:
    """Make ``domain`` and one account in it, unless the directory has accounts or other domains already."""
    known = [one.name for one in await accounts.domains()]
    if not domain or (await accounts.totals())[0] or set(known) - {domain}:
        return None
    if not known:
        await accounts.add_domain(domain)
    first = FirstAccount(f"{FIRST_USER}@{domain}", generate())
    await accounts.add_user(first.address, first.password)
    return first


def notice(
    config: Config, certificate: Path | None, first: FirstAccount | None, code: str = "", recovery: Mapping[str, str] | None = None
) -> str:
    """What listens where; after a first start also the account and what to try.

    ``certificate`` is the self-signed one. ``code`` sets up the first administrator; empty: there is one. ``recovery``: the
    recovery keys of domains whose keys were just made, in the only copy.
    """
    lines = ["", f"MailX {__version__} is running.", ""]
    lines += [f"  {_label(config, setting):<30} {_where(interface, port)}" for setting, interface, port in listeners(config)]
    lines += ["", f"  {'data':<30} {_short(config.server.data)}"]
    if certificate is not None:
        lines.append(f"  {'certificate (self-signed)':<30} {_short(certificate)}")
    if first is not None:
        lines.append(f"  {'secret':<30} {_short(config.server.secret_file)}  (keep a copy: without it the mail cannot be opened)")
        lines += ["", f"  {'account':<30} {first.address}", f"  {'password':<30} {first.password}  (shown this once)"]
    if code and config.panel.port:
        lines += ["", f"  {'set up the administrator at':<30} {panel_url(config)}", f"  {'with the code':<30} {code}"]
    if recovery:
        lines += ["", "Recovery keys, shown this once. Write them down and keep them away from the server:", ""]
        lines += [line for domain, key in recovery.items() for line in (f"  {domain}", f"    {key}")]
    if first is not None:
        lines += ["", "Try it in another terminal:", "", *_commands(config, certificate, first)]
    return "\n".join([*lines, "", ""])


def panel_url(config: Config) -> str:
    """Where a browser on this machine, or one that knows the server's name, finds the control panel."""
    scheme = "https" if config.panel.tls else "http"
    return f"{scheme}://{_host(config, config.panel.interface)}:{config.panel.port}/"


def _label(config: Config, setting: str) -> str:
    section = setting.partition(".")[0]
    if section not in ("webhook", "panel"):
        return _LABELS[setting]
    return f"{_LABELS[setting]} ({'HTTPS' if getattr(config, section).tls else 'HTTP'})"


def _commands(config: Config, certificate: Path | None, first: FirstAccount) -> Sequence[str]:
    """Commands to paste: send, read, and where the documentation is."""
    host = _host(config, config.server.interface) if certificate is not None else config.server.hostname
    trust = f" --cacert {_short(certificate)}" if certificate is not None else ""
    login = f"--user '{first.address}:{first.password}'"
    lines = []
    if config.smtp.submissions_port:
        url = f"smtps://{host}:{config.smtp.submissions_port}"
        lines += [
            "  # send",
            f"  printf 'From: {first.address}\\r\\nTo: {first.address}\\r\\nSubject: Hello\\r\\n\\r\\nIt works.\\r\\n' | \\",
            f"    curl -sS{trust} {login} --mail-from {first.address} --mail-rcpt {first.address} -T - {url}",
        ]
    if config.imap.tls_port:
        url = f"imaps://{host}:{config.imap.tls_port}/INBOX;MAILINDEX=1"
        lines += ["  # read", f"  curl -sS{trust} {login} '{url}'"]
    readme = Path(__file__).parent.parent.parent / "README.rst"
    learn = f"less {_short(readme)}" if readme.exists() else f"{_short(Path(sys.executable).with_name('mailxctl'))} --help"
    return [*lines, "  # learn more", f"  {learn}"]


def _host(config: Config, interface: str) -> str:
    """What leads to a listener on ``interface``; the self-signed certificate is for localhost and the name of the server."""
    address = ip_address(interface)
    return "localhost" if address.is_unspecified or address in _LOCALHOST else config.server.hostname


def _where(interface: str, port: int) -> str:
    return f"[{interface}]:{port}" if ":" in interface else f"{interface}:{port}"


def _short(path: str | Path) -> str:
    """``path`` as seen from the working directory, if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
