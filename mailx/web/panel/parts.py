"""Everything that pages may need, handed to each of them whole."""

from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class Parts:
    """The parts of the running server. A page takes what it needs and keeps nothing of it beyond the request."""

    settings: Any
    accounts: Any
    reactor: Any
    admins: Any = None
    sessions: Any = None
    api_keys: Any = None
    audit: Any = None
    queue: Any = None
    timeline: Any = None
    signing: Any = None
    records: Any = None
    figures: Any = None
    delivery_log: Any = None
    alerts: Any = None
    calls: Any = None
    fates: Any = None
    callbacks: Any = None
    templates: Any = None
    suppressions: Any = None
    remote_mailboxes: Any = None
    certificates: Any = None
    mail_out_probe: Any = None
    mailbox_probe: Any = None
    administration: Any = None
    reception: Any = None
    started: float = 0.0
