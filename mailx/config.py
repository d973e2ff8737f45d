"""Every setting of MailX, declared once: default, type and help of each key.

One frozen class per section of the TOML file. ``etc/mailx.toml`` and the reference page are generated from
here; :mod:`mailx.config_file` reads files and environment into these classes.
"""

from typing import Any, get_args

from attrs import Attribute, Factory, fields, frozen, has

from mailx.config_federation import Contacts, Federation, Traces
from mailx.config_mailboxes import IMAP as IMAP
from mailx.config_mailboxes import POP3 as POP3
from mailx.config_mailboxes import Lifecycle, Search
from mailx.config_setting import FORMS, setting
from mailx.config_setting import endpoint as endpoint
from mailx.config_setting import is_loopback as is_loopback
from mailx.config_setting import seconds as seconds

PORT = 65535
SMARTHOST = "smarthost"  # what routes and the queue call the relay of [smarthost]
VARIABLE_PREFIX = "MAILX_"


@frozen
class Server:
    """Who this server is and where its data lies."""

    hostname: str = setting("localhost.test", "Name in greetings, Received fields and the self-signed certificate.", form="hostname")
    data: str = setting("var", "Directory of all data; relative to the configuration file.", form="path")
    secret_file: str = setting(
        "mailx.secret",
        "File with the server secret, made at first start. Keep it outside `data` and outside ordinary backups.",
        form="path",
    )
    interface: str = setting("127.0.0.1", "Address that listeners bind to; `0.0.0.0` or `::` for all.", form="interface")
    first_domain: str = setting("localhost.test", "Domain made at the very first start, with one account `me`; empty: none.", form="domain")
    threads: int = setting(4, "Threads for hashing and slow parsing.", least=1)


@frozen
class StoreSettings:
    """Where mail is kept."""

    url: str = setting("sqlite:mailx.db", "`sqlite:FILE` (relative to `data`) or `postgresql://user@host/database`.", form="store")
    password: str = setting("", "PostgreSQL password; better in `password_file` or the environment than here.", secret=True)
    password_file: str = setting("", "File with the PostgreSQL password, in place of `password`.", form="path")
    readers: int = setting(2, "Connections for reading.", least=1)
    file_above: int = setting(131072, "Messages of more octets than this lie in files, smaller ones in the database.", least=1024)
    spool_above: int = setting(
        1048576, "While it arrives, a message of more octets than this is spooled to an encrypted file.", least=65536
    )


@frozen
class Certificate:
    """One certificate; `[[tls.certificates]]` may stand several times."""

    certificate_file: str = setting("", "PEM file with the chain, the server's certificate first.", form="path")
    key_file: str = setting("", "PEM file with the private key.", form="path")
    names: tuple[str, ...] = setting((), "Host names it is served for by SNI; empty: the names in the certificate.", form="hostname")


@frozen
class TLS:
    """Certificates and versions. Without any certificate a self-signed one is made in `data`."""

    certificates: tuple[Certificate, ...] = setting(
        (), "Certificates; the first also answers clients that send no known name.", reread=True
    )
    minimum: str = setting("1.2", "Lowest TLS version offered.", choices=("1.2", "1.3"))


@frozen
class SMTP:
    """Mail in: MX, submission, LMTP."""

    port: int = setting(2525, "MX port (25 in production); 0: off.", least=0, most=PORT)
    submission_port: int = setting(2587, "Submission with STARTTLS (587 in production); 0: off.", least=0, most=PORT)
    submissions_port: int = setting(2465, "Submission with implicit TLS (465 in production); 0: off.", least=0, most=PORT)
    lmtp_port: int = setting(
        0, "LMTP for a trusted front MTA; 0: off. Binds to 127.0.0.1 only unless `lmtp_interface` says otherwise.", least=0, most=PORT
    )
    lmtp_interface: str = setting("127.0.0.1", "Address of the LMTP listener.", form="interface")
    lmtp_socket: str = setting("", "Unix socket for LMTP, relative to `data`; empty: none.", form="data path")
    max_connections: int = setting(100, "Connections a port; the next gets 421 4.3.2.", least=1)
    max_per_address: int = setting(20, "Connections from one client address a port.", least=1)
    idle_timeout: int = setting(300, "Seconds without a byte before a session ends with 421.", least=1)
    command_timeout: int = setting(30, "Seconds a command may take to arrive or to be answered.", least=1)
    message_size: int = setting(26214400, "Largest message in octets (SIZE); more gets 552.", least=65536)
    line_octets: int = setting(
        65536,
        "Longest line of a message in octets, CRLF included; longer ones are refused (at least 1000, RFC 5321 4.5.3.1.6).",
        least=1000,
    )
    recipients: int = setting(1000, "Recipients of one message; more get 452 4.5.3 (at least 100, RFC 5321 4.5.3.1.8).", least=100)
    cram_md5: bool = setting(False, "Offer CRAM-MD5. It needs a reversible verifier, made when a password is set while this is on.")
    proxy_from: tuple[str, ...] = setting(
        (), "Networks (CIDR) whose connections must begin with a PROXY protocol v1 or v2 header; empty: none.", form="network"
    )
    shutdown_seconds: int = setting(30, "How long running transactions may finish after SIGTERM.", least=0)


@frozen
class Accounts:
    """Defaults and limits of accounts and logins."""

    quota: int = setting(1073741824, "Storage of an account in octets unless set for the account; 0: unlimited.", least=0)
    separator: str = setting("+", "Subaddress separator: `user+tag@domain` reaches `user@domain`; empty: none.")
    login_cache: int = setting(300, "Seconds a successful login is remembered, so that reconnects cost no bcrypt; 0: off.", least=0)
    channel_binding: bool = setting(
        False,
        "Offer SCRAM-SHA-256-PLUS, which binds a login to its TLS connection. Off because mail programs built on Cyrus SASL "
        "(mutt, KMail) choose it and then fail.",
    )
    failures_per_hour: int = setting(5, "Failed logins an hour for one account from one address.", least=1)
    failures_per_address: int = setting(50, "Failed logins an hour from one address.", least=1)
    failures_per_account: int = setting(
        200, "Failed logins an hour for one account from all addresses; wide, so that a stranger cannot lock an owner out.", least=1
    )


@frozen
class DNS:
    """Name resolution for mail out and for checks."""

    servers: tuple[str, ...] = setting((), "Name servers; empty: those of /etc/resolv.conf.", form="address")
    validating: str = setting(
        "",
        "A validating resolver on a loopback address, such as `127.0.0.1:53`. It is asked in place of `servers`, and its word "
        "that an answer is secure is trusted, which DANE needs; empty: no DANE.",
        form="loopback",
    )
    timeout: int = setting(5, "Seconds until a server that does not answer is given up.", least=1, most=60)
    cache: int = setting(20000, "Answers kept in memory.", least=100)


@frozen
class Relay:
    """A smart host; `[[outbound.relays]]` may stand several times."""

    name: str = setting("", "What routes call it.")
    hosts: tuple[str, ...] = setting((), "Its hosts; the next is tried when one fails.", form="endpoint")
    security: str = setting(
        "starttls",
        "`starttls` (port 587), `tls` from the first octet (465), or `plain` (25: UNSAFE).",
        choices=("starttls", "tls", "plain"),
    )
    username: str = setting("", "Login name; empty: no login.")
    password: str = setting("", "Password; better in `password_file` than here.", secret=True)
    password_file: str = setting("", "File with the password, in place of `password`.", form="path")
    mechanism: str = setting(
        "", "SASL mechanism; empty: the strongest that both know.", choices=("", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN")
    )
    timeout: int = setting(30, "Seconds until a host that cannot be reached is given up.", least=1, most=600)
    verify: bool = setting(True, "Check the certificate. UNSAFE when false: anybody on the way can read mail and password.")


@frozen
class Route:
    """A way for some mail; `[[outbound.routes]]` may stand several times, the first that fits holds."""

    recipients: tuple[str, ...] = setting((), "Recipients' domains it holds for; empty: all.", form="pattern")
    senders: tuple[str, ...] = setting((), "Senders' domains it holds for; empty: all.", form="pattern")
    relay: str = setting("", "Name of the relay that takes the mail; empty: directly to the recipient's server.")
    retry: tuple[str, ...] = setting((), "Waits between attempts; empty: those of `queue.retry`.", form="duration")


@frozen
class Outbound:
    """Mail out: directly to the recipients' servers, or through smart hosts."""

    port: int = setting(25, "Port of the recipients' servers; another than 25 is for tests only.", least=1, most=PORT)
    interface: str = setting("", "Address that connections come from; empty: the system chooses.", form="source")
    connections: int = setting(500, "Connections out in all.", least=1)
    per_destination: int = setting(10, "Connections to one destination at a time.", least=1)
    per_connection: int = setting(100, "Messages sent over one connection before it is closed.", least=1)
    per_minute: int = setting(0, "Messages to one destination a minute; 0: as many as it takes.", least=0)
    idle_seconds: int = setting(10, "How long an unused connection is kept for the next message.", least=0, most=300)
    connect_timeout: int = setting(30, "Seconds until a server that cannot be reached is given up.", least=1, most=600)
    tls: str = setting(
        "opportunistic",
        "`opportunistic`: encrypt where the server can; `required`: send nothing unencrypted; `off`: UNSAFE, only for tests.",
        choices=("opportunistic", "required", "off"),
    )
    mta_sts: bool = setting(True, "Fetch and obey MTA-STS policies (RFC 8461).")
    dane: bool = setting(True, "Obey TLSA records (RFC 7672); needs `dns.validating`.")
    loopback: bool = setting(False, "Deliver to servers on loopback addresses too: only for tests, for their records may lie.")
    relays: tuple[Relay, ...] = setting((), "Smart hosts.", reread=True)
    routes: tuple[Route, ...] = setting((), "Which mail goes which way; what fits none goes directly.", reread=True)


@frozen
class Queue:
    """Mail waiting to go out."""

    retry: tuple[str, ...] = setting(
        ("5m", "15m", "30m", "1h", "2h", "4h", "8h", "16h", "24h"),
        "Waits between attempts; after the attempt that follows the last one the message bounces.",
        form="duration",
        reread=True,
    )
    warn_after: str = setting("4h", "When the sender is told that a message is late; empty: never.", form="duration", reread=True)
    keep_days: int = setting(30, "Days that finished recipients, dead letters and timelines are kept.", least=1)
    shutdown_seconds: int = setting(30, "How long running deliveries may finish after SIGTERM.", least=0)
    delivery_log: int = setting(
        5000000, "Octets of the delivery log; the oldest entries give way.", least=100000, most=1000000000, live=True
    )


@frozen
class Limits:
    """How much may be sent. A recipient counts as one message."""

    account_hour: int = setting(100, "Messages an account may send an hour; more get 452; 0: no limit.", least=0, live=True)
    account_day: int = setting(500, "Messages an account may send a day; 0: no limit.", least=0, live=True)
    domain_hour: int = setting(0, "Messages that all accounts of a domain may send an hour; 0: no limit.", least=0, live=True)
    address_minute: int = setting(600, "Messages taken from one client address a minute on the MX port; 0: no limit.", least=0, live=True)


@frozen
class Checks:
    """What is checked of mail that comes in on the MX port: SPF, DKIM, DMARC, ARC."""

    trusted: tuple[str, ...] = setting(("127.0.0.0/8", "::1/128"), "Networks whose mail is not checked.", form="network")
    spf: str = setting(
        "mark",
        "What becomes of an SPF fail: `reject`, `junk` (Spam folder), `mark`; `off`: not checked.",
        choices=("reject", "junk", "mark", "off"),
    )
    dkim: bool = setting(True, "Verify DKIM signatures and ARC chains.")
    dmarc: str = setting(
        "enforce",
        "`enforce` what the author's domain asks for (reject, or the Spam folder for quarantine); `junk`: at most the Spam folder; "
        "`mark`; `off`: not checked.",
        choices=("enforce", "junk", "mark", "off"),
    )
    arc_trusted: tuple[str, ...] = setting((), "Domains of forwarders whose ARC seals are believed when DMARC fails.", form="domain")
    unclear: str = setting(
        "defer",
        "When DNS gives no answer that a rejection would hang on: `defer` the message with 451, or `accept` it unverified.",
        choices=("defer", "accept"),
    )
    timeout: int = setting(20, "Seconds that the checks of one message may take in all.", least=1, most=120)


@frozen
class ClamAV:
    """The virus scanner."""

    socket: str = setting("", "Unix socket of clamd, or host:port; empty: not scanned.")
    max_size: int = setting(
        26214400, "Larger messages (octets) are not scanned; clamd's StreamMaxLength must be at least this.", least=1024
    )
    timeout: int = setting(30, "Seconds a scan may take.", least=1, most=300)
    found: str = setting("reject", "What becomes of a message with a virus: `reject` or `junk` (Spam folder).", choices=("reject", "junk"))
    away: str = setting("defer", "When the scanner does not answer: `defer` with 451, or `accept` unscanned.", choices=("defer", "accept"))


@frozen
class Smarthost:
    """The smart host of this server: it takes all outgoing mail that no `[[outbound.routes]]` sends another way."""

    host: str = setting("", "Its name or address; empty: mail goes directly to the recipients' servers.", form="host", live=True)
    port: int = setting(587, "Its port: 587 with `starttls`, 465 with `tls`, 25 with `plain`.", least=1, most=PORT, live=True)
    security: str = setting(
        "starttls",
        "`starttls`, `tls` from the first octet, or `plain` (UNSAFE: anybody on the way can read along).",
        choices=("starttls", "tls", "plain"),
        live=True,
    )
    username: str = setting("", "Login name; empty: no login.", live=True)
    password: str = setting("", "Password; better in `password_file` or the panel than here.", secret=True, live=True)
    password_file: str = setting("", "File with the password, in place of `password`.", form="path", reread=True)
    timeout: int = setting(30, "Seconds until a host that cannot be reached is given up.", least=1, most=600, live=True)
    verify: bool = setting(True, "Check the certificate. UNSAFE when false: anybody on the way can read mail and password.", live=True)


@frozen
class Webhook:
    """The receiver: programs post JSON, mail goes out."""

    port: int = setting(2555, "Port of the receiver; 0: off.", least=0, most=PORT)
    tls: bool = setting(False, "Serve it by TLS with the certificates of `[tls]`; false: plain HTTP, for loopback or behind a proxy.")
    signature: bool = setting(True, "Demand a signature. UNSAFE when false: whoever reaches the port sends mail in your name.", live=True)
    secret: str = setting(
        "",
        "Shared secret that callers sign with; better in `secret_file` or the panel than here. Empty: all calls get 503.",
        secret=True,
        live=True,
    )
    secret_file: str = setting("", "File with the shared secret, in place of `secret`.", form="path", reread=True)
    header_prefix: str = setting(
        "X-TransLife", "What the names of the signature's headers begin with: PREFIX-Timestamp, PREFIX-Signature.", live=True
    )
    skew: int = setting(300, "Seconds that a call's timestamp may differ from the clock here.", least=1, most=86400, live=True)
    allowed: tuple[str, ...] = setting((), "Networks that may call; empty: all.", form="network", live=True)
    proxies: tuple[str, ...] = setting(
        (),
        "Networks of reverse proxies whose X-Forwarded-For tells the caller's address; empty: none is believed.",
        form="network",
        live=True,
    )
    per_minute: int = setting(600, "Calls from one address a minute; more get 429; 0: no limit.", least=0, live=True)
    body_size: int = setting(10485760, "Largest body of a call in octets; more gets 413.", least=1024, most=104857600, live=True)
    public_web_url: str = setting(
        "", "Address of your web site; links are built from it when a call has none: `https://app.example.org`.", form="url", live=True
    )
    sender_domain: str = setting(
        "", "Domain that mail is sent from, one of this server's. Empty: all calls get 503.", form="domain", live=True
    )
    sender_local: str = setting("no-reply", "What stands before the @ of the sender when a call does not say.", live=True)
    sender_name: str = setting("", "Display name of the sender; empty: none.", live=True)
    local_parts: str = setting(
        "refused",
        "What `fromLocalPart` of a call may be: `any`, `listed` in `allowed_local_parts`, or `refused`.",
        choices=("any", "listed", "refused"),
        live=True,
    )
    allowed_local_parts: tuple[str, ...] = setting((), "What may stand before the @ when `local_parts` is `listed`.", live=True)
    include_token: bool = setting(True, "Templates are given the token.", live=True)
    include_expires: bool = setting(True, "Templates are given the time of expiry.", live=True)
    include_link: bool = setting(True, "Templates are given the link.", live=True)
    callback_url: str = setting(
        "", "Where the fate of each message is posted to unless its call names a `callbackUrl`; empty: nowhere.", form="url", live=True
    )
    callback_secret: str = setting("", "Secret that callbacks are signed with; empty: that of the calls.", secret=True, live=True)
    callback_secret_file: str = setting("", "File with the secret of callbacks, in place of `callback_secret`.", form="path", reread=True)
    callback_networks: tuple[str, ...] = setting(
        (),
        "Private or loopback networks that callbacks and alerts may be posted into; others of that kind are refused.",
        form="network",
        live=True,
    )
    suppress: bool = setting(True, "Refuse calls for addresses that have bounced for good, until they are taken off the list.", live=True)


@frozen
class Panel:
    """The control panel and the admin API."""

    port: int = setting(2580, "Port of the control panel; 0: off.", least=0, most=PORT)
    interface: str = setting("127.0.0.1", "Address it binds to. Another than a loopback address needs `expose`.", form="interface")
    expose: bool = setting(False, "Allow an `interface` that others reach; then `tls` must be on or `proxies` set.")
    tls: bool = setting(False, "Serve it by TLS with the certificates of `[tls]`.")
    proxies: tuple[str, ...] = setting(
        (), "Networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: none.", form="network"
    )
    hosts: tuple[str, ...] = setting(
        (),
        "Names that browsers may call it by, beside loopback names and `server.hostname`; others are refused (DNS rebinding).",
        form="hostname",
    )
    session_hours: int = setting(12, "Hours until an administrator must log in again.", least=1, most=720, live=True)
    idle_minutes: int = setting(30, "Minutes without a request after which a session ends.", least=1, most=1440, live=True)
    audit_days: int = setting(730, "Days that the audit log is kept.", least=30, live=True)


@frozen
class Alerts:
    """What administrators are told without asking."""

    mail: tuple[str, ...] = setting(
        (), "Addresses that alerts are mailed to; empty: they are shown in the panel only.", form="mailbox", live=True
    )
    url: str = setting("", "Where alerts are posted to as signed JSON; empty: nowhere.", form="url", live=True)
    secret: str = setting("", "Secret that posted alerts are signed with.", secret=True, live=True)
    secret_file: str = setting("", "File with that secret, in place of `secret`.", form="path", reread=True)
    queue_age: str = setting("4h", "Alert when a message has waited this long; empty: never.", form="duration", live=True)
    queue_depth: int = setting(10000, "Alert when so many recipients wait; 0: never.", least=0, live=True)
    failures_per_hour: int = setting(50, "Alert when so many deliveries failed for good within an hour; 0: never.", least=0, live=True)
    quota_percent: int = setting(95, "Alert when an account has used this part of its storage; 0: never.", least=0, most=100, live=True)
    disk_percent: int = setting(90, "Alert when the disk with the data is this full; 0: never.", least=0, most=100, live=True)
    certificate_days: int = setting(14, "Alert so many days before a certificate expires; 0: never.", least=0, live=True)
    logins_per_hour: int = setting(20, "Alert when so many logins of administrators failed within an hour; 0: never.", least=0, live=True)


@frozen
class Log:
    """The log."""

    level: str = setting("info", "Lowest level written.", choices=("debug", "info", "warn", "error", "critical"), live=True)
    format: str = setting(
        "auto", "`json` lines, `console` for people, or `auto`: console on a terminal, else json.", choices=("auto", "json", "console")
    )
    file: str = setting(
        "", "Log file, relative to `data`, rotated daily; empty: standard output (set it when `twistd` runs as a daemon).", form="data path"
    )
    days: int = setting(30, "Days that rotated log files are kept.", least=1)


@frozen
class Health:
    """/healthz, /readyz and /metrics."""

    interface: str = setting("127.0.0.1", "Address of the health listener.", form="interface")
    port: int = setting(2581, "Port of the health listener; 0: off.", least=0, most=PORT)


@frozen
class Admin:
    """The socket that `mailxctl` speaks to."""

    socket: str = setting("admin.sock", "Unix socket, relative to `data`; only its owner may connect.", form="data path")


@frozen
class Config:
    """The whole configuration: one attribute per section."""

    server: Server = Factory(Server)
    store: StoreSettings = Factory(StoreSettings)
    tls: TLS = Factory(TLS)
    smtp: SMTP = Factory(SMTP)
    imap: IMAP = Factory(IMAP)
    pop3: POP3 = Factory(POP3)
    search: Search = Factory(Search)
    lifecycle: Lifecycle = Factory(Lifecycle)
    accounts: Accounts = Factory(Accounts)
    dns: DNS = Factory(DNS)
    outbound: Outbound = Factory(Outbound)
    queue: Queue = Factory(Queue)
    limits: Limits = Factory(Limits)
    smarthost: Smarthost = Factory(Smarthost)
    federation: Federation = Factory(Federation)
    contacts: Contacts = Factory(Contacts)
    checks: Checks = Factory(Checks)
    clamav: ClamAV = Factory(ClamAV)
    webhook: Webhook = Factory(Webhook)
    panel: Panel = Factory(Panel)
    alerts: Alerts = Factory(Alerts)
    log: Log = Factory(Log)
    traces: Traces = Factory(Traces)
    health: Health = Factory(Health)
    admin: Admin = Factory(Admin)


def sections() -> dict[str, type]:
    """The name and class of every section, in the order of the file."""
    return {attribute.name: attribute.type for attribute in fields(Config) if attribute.type is not None}


def table(attribute: "Attribute[Any]") -> Any:
    """The class of the tables that the setting ``attribute`` is a list of; None if it is no such list."""
    kinds = get_args(attribute.type)
    return kinds[0] if kinds and has(kinds[0]) else None


def variable(section: str, key: str) -> str:
    """The environment variable that overrides ``section.key``: ``MAILX_SMTP__PORT``."""
    return f"{VARIABLE_PREFIX}{section.upper()}__{key.upper()}"


def allowed(attribute: "Attribute[Any]") -> str:
    """What the setting ``attribute`` accepts, in words: ``"a whole number from 0 to 65535"``."""
    metadata = attribute.metadata
    if attribute.type is bool:
        return "true or false"
    if attribute.type is int:
        least, most = metadata["least"], metadata["most"]
        if most is not None:
            return f"a whole number from {least} to {most}"
        return "a whole number" if least is None else f"a whole number, at least {least}"
    if (kind := table(attribute)) is not None:
        return f"a list of tables, each with {', '.join(inner.name for inner in fields(kind)[:2])}, ..."
    one = "one of " + ", ".join(metadata["choices"]) if metadata["choices"] else FORMS[metadata["form"]]
    return f"a list, each {one}" if attribute.type == tuple[str, ...] else one


def listeners(config: Config) -> list[tuple[str, str, int]]:
    """Every TCP listener that is turned on: (setting, interface, port)."""
    server, smtp, imap, health = config.server, config.smtp, config.imap, config.health
    every = [
        ("smtp.port", server.interface, smtp.port),
        ("smtp.submission_port", server.interface, smtp.submission_port),
        ("smtp.submissions_port", server.interface, smtp.submissions_port),
        ("smtp.lmtp_port", smtp.lmtp_interface, smtp.lmtp_port),
        ("imap.port", server.interface, imap.port),
        ("imap.tls_port", server.interface, imap.tls_port),
        ("pop3.port", server.interface, config.pop3.port),
        ("pop3.tls_port", server.interface, config.pop3.tls_port),
        ("federation.port", server.interface, config.federation.port),
        ("federation.https_port", server.interface, config.federation.https_port),
        ("webhook.port", server.interface, config.webhook.port),
        ("panel.port", config.panel.interface, config.panel.port),
        ("health.port", health.interface, health.port),
    ]
    return [listener for listener in every if listener[2]]
