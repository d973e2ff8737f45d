"""The counters of the server, declared once, so that edges and core can count without knowing who reads them.

Prometheus reads them on the health port (:mod:`mailx.ops.metrics`). Labels take values from small closed sets
only (protocols, outcomes, reply codes), never an address or a name. ``labels(...)`` costs a microsecond: where
that matters, keep the labelled child (``RECEIVED.labels("ESMTP")``) and call ``inc`` on it.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OCTETS = (1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

# Connections. protocol: smtp, submission, submissions, lmtp, imap, imaps, ...
CONNECTIONS = Counter("mailx_connections", "Connections accepted.", ["protocol"], registry=REGISTRY)
CONNECTIONS_OPEN = Gauge("mailx_connections_open", "Connections open now.", ["protocol"], registry=REGISTRY)
CONNECTIONS_REFUSED = Counter(
    "mailx_connections_refused", "Connections refused; reason: limit, address_limit, shutdown.", ["protocol", "reason"], registry=REGISTRY
)

# Sessions. outcome: ok, refused, throttled, unavailable; a command's outcome: 2xx to 5xx for SMTP, ok, no, bad for IMAP.
LOGINS = Counter("mailx_logins", "Login attempts.", ["protocol", "outcome"], registry=REGISTRY)
COMMANDS = Counter("mailx_commands", "Commands answered.", ["protocol", "command", "outcome"], registry=REGISTRY)
COMMAND_SECONDS = Histogram(
    "mailx_command_seconds", "Time from a command to its answer.", ["protocol"], buckets=_SECONDS, registry=REGISTRY
)
HANDSHAKES = Counter("mailx_tls_handshakes", "TLS handshakes done.", ["protocol", "version"], registry=REGISTRY)

# Messages. protocol: the RFC 3848 keyword of the Received field (ESMTP, ESMTPS, LMTP, IMAP, ...).
RECEIVED = Counter("mailx_messages_received", "Messages accepted and stored.", ["protocol"], registry=REGISTRY)
REFUSED = Counter(
    "mailx_messages_refused", "Senders, recipients and messages refused, by reply code.", ["protocol", "code"], registry=REGISTRY
)
DELIVERED = Counter("mailx_mailbox_deliveries", "Mailbox entries made by deliveries (one message may make several).", registry=REGISTRY)
MESSAGE_OCTETS = Histogram("mailx_message_octets", "Sizes of accepted messages.", buckets=_OCTETS, registry=REGISTRY)
DELIVERY_SECONDS = Histogram(
    "mailx_delivery_seconds", "Time from the end of a message to its durable storage.", buckets=_SECONDS, registry=REGISTRY
)

# Store and accounts. The figures of all accounts together are read once a minute.
SWEPT = Counter("mailx_messages_swept", "Messages removed after their last reference went.", registry=REGISTRY)
INDEXED = Counter("mailx_messages_indexed", "Messages taken into the search index.", registry=REGISTRY)
INDEX_LAG_MESSAGES = Gauge("mailx_index_lag_messages", "Messages that the search index does not have yet.", registry=REGISTRY)
INDEX_LAG_SECONDS = Gauge("mailx_index_lag_seconds", "For how long the oldest of them has been waiting.", registry=REGISTRY)
ACCOUNTS = Gauge("mailx_accounts", "Accounts that exist.", registry=REGISTRY)
STORAGE_OCTETS = Gauge("mailx_storage_octets", "Octets charged to all accounts together.", registry=REGISTRY)
CERTIFICATE_EXPIRY = Gauge(
    "mailx_certificate_expiry_seconds", "When a certificate ends, in seconds since 1970.", ["name"], registry=REGISTRY
)

# Timelines.
TIMELINE_LOST = Counter("mailx_timeline_lost", "Notes of timelines lost because the store did not answer for too long.", registry=REGISTRY)

# Mail out is signed and made ready. algorithm: rsa-sha256, ed25519-sha256; outcome: done, refused.
SIGNED = Counter("mailx_dkim_signatures", "DKIM signatures made.", ["algorithm"], registry=REGISTRY)
DOWNGRADED = Counter(
    "mailx_messages_downgraded", "Messages with 8-bit content for servers that take seven bits only.", ["outcome"], registry=REGISTRY
)
