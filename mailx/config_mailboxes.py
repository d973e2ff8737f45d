"""The settings of mailboxes: how they are read, searched, and what becomes of their mail in time.

They are sections of :class:`mailx.config.Config` like the others; this module keeps that one short.
"""

from attrs import frozen

from mailx.config_setting import setting

PORT = 65535
_CENTURY = 36500  # days


@frozen
class IMAP:
    """Mail read by IMAP."""

    port: int = setting(2143, "IMAP with STARTTLS (143 in production); 0: off.", least=0, most=PORT)
    tls_port: int = setting(2993, "IMAP with implicit TLS (993 in production); 0: off.", least=0, most=PORT)
    max_connections: int = setting(200, "Connections a port; the next gets BYE.", least=1)
    max_per_address: int = setting(100, "Connections from one client address a port; many people may share one.", least=1)
    max_per_account: int = setting(50, "Sessions of one account.", least=1)
    idle_timeout: int = setting(1800, "Seconds without a command before the session ends (at least 30 minutes, RFC 9051 5.4).", least=1)
    command_timeout: int = setting(60, "Seconds a command may take to arrive whole.", least=1)
    append_size: int = setting(26214400, "Largest message taken by APPEND (APPENDLIMIT).", least=65536)
    message_limit: int = setting(
        0,
        "Messages that one FETCH, STORE, COPY, MOVE, SEARCH, APPEND or UID EXPUNGE works on at most (MESSAGELIMIT, RFC 9738), 1000 or "
        "more; clients that do not know of it miss what goes beyond. 0: no limit.",
        least=0,
    )
    compress: bool = setting(True, "Offer COMPRESS=DEFLATE; a session that uses it takes about 100 KB more memory.")
    jmap_url: str = setting("", "Where JMAP clients find the same mail (JMAPACCESS, RFC 9698); empty: not announced.", form="url")
    plaintext_login: bool = setting(False, "UNSAFE: allow LOGIN and PLAIN without TLS.")
    proxy_from: tuple[str, ...] = setting(
        (), "Networks (CIDR) whose connections must begin with a PROXY protocol header; empty: none.", form="network"
    )
    shutdown_seconds: int = setting(60, "How long running commands may finish after SIGTERM.", least=0)


@frozen
class POP3:
    """Mail read by POP3."""

    port: int = setting(2110, "POP3 with STLS (110 in production); 0: off.", least=0, most=PORT)
    tls_port: int = setting(2995, "POP3 with implicit TLS (995 in production); 0: off.", least=0, most=PORT)
    max_connections: int = setting(200, "Connections a port; the next gets -ERR.", least=1)
    max_per_address: int = setting(100, "Connections from one client address a port; many people may share one.", least=1)
    idle_timeout: int = setting(600, "Seconds without a command before the session ends (at least 10 minutes, RFC 1939 3).", least=1)
    plaintext_login: bool = setting(False, "UNSAFE: allow USER and PLAIN without TLS.")
    proxy_from: tuple[str, ...] = setting(
        (), "Networks (CIDR) whose connections must begin with a PROXY protocol header; empty: none.", form="network"
    )
    shutdown_seconds: int = setting(30, "How long running commands may finish after SIGTERM.", least=0)


@frozen
class Search:
    """What searches look into."""

    attachments: bool = setting(True, "Index the text of PDF and office attachments, if `mailx[attachments]` is installed.")


@frozen
class Lifecycle:
    """What becomes of mail and accounts in time."""

    trash_days: int = setting(
        30,
        "Days after which mail in Trash is removed, counted from when it came there; 0: never.",
        least=0,
        most=_CENTURY,
        live=True,
    )
    spam_days: int = setting(
        30,
        "Days after which mail in Spam is removed, counted from when it came there; 0: never.",
        least=0,
        most=_CENTURY,
        live=True,
    )
    retention_days: int = setting(
        0,
        "Days after which all other mail is removed, unless the account has a retention of its own; 0: never.",
        least=0,
        most=_CENTURY,
        live=True,
    )
    grace_days: int = setting(30, "Days that a deleted account can be had back before it is erased.", least=0, most=_CENTURY, live=True)
    warn_percent: tuple[str, ...] = setting(
        ("80", "90", "95"),
        "Percents of the quota at whose crossing the owner gets a warning by mail; empty: none.",
        form="percent",
        live=True,
    )
