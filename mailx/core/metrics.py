"""The counters of the server, declared once, so that edges and core can count without knowing who reads them.

Prometheus reads them on the health port (:mod:`mailx.ops.metrics`). Labels take values from small closed sets
only (protocols, outcomes, reply codes), never an address or a name. ``labels(...)`` costs a microsecond: where
that matters, keep the labelled child (``RECEIVED.labels("ESMTP")``) and call ``inc`` on it.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_QUEUED = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 14400.0, 86400.0)
_OCTETS = (1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

# Connections. protocol: smtp, submission, submissions, lmtp, imap, imaps, ...
CONNECTIONS = Counter("mailx_connections", "Connections accepted.", ["protocol"], registry=REGISTRY)
CONNECTIONS_OPEN = Gauge("mailx_connections_open", "Connections open now.", ["protocol"], registry=REGISTRY)
CONNECTIONS_REFUSED = Counter(
    "mailx_connections_refused", "Connections refused; reason: limit, address_limit, shutdown.", ["protocol", "reason"], registry=REGISTRY
)

# Sessions. outcome: ok, refused, throttled, unavailable; a command's outcome: 2xx to 5xx for SMTP, ok, no, bad for IMAP, ok, err for POP3.
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
PURGED = Counter("mailx_messages_purged", "Messages removed because their time was over.", registry=REGISTRY)
INDEXED = Counter("mailx_messages_indexed", "Messages taken into the search index.", registry=REGISTRY)
INDEX_LAG_MESSAGES = Gauge("mailx_index_lag_messages", "Messages that the search index does not have yet.", registry=REGISTRY)
INDEX_LAG_SECONDS = Gauge("mailx_index_lag_seconds", "For how long the oldest of them has been waiting.", registry=REGISTRY)
ACCOUNTS = Gauge("mailx_accounts", "Accounts that exist.", registry=REGISTRY)
STORAGE_OCTETS = Gauge("mailx_storage_octets", "Octets charged to all accounts together.", registry=REGISTRY)
CERTIFICATE_EXPIRY = Gauge(
    "mailx_certificate_expiry_seconds", "When a certificate ends, in seconds since 1970.", ["name"], registry=REGISTRY
)

# Timelines and delivery reports. kind: failed, delayed, delivered, relayed, expanded, unreported.
TIMELINE_LOST = Counter("mailx_timeline_lost", "Notes of timelines lost because the store did not answer for too long.", registry=REGISTRY)

# Mail out is signed and made ready. algorithm: rsa-sha256, ed25519-sha256; outcome: done, refused.
SIGNED = Counter("mailx_dkim_signatures", "DKIM signatures made.", ["algorithm"], registry=REGISTRY)
DOWNGRADED = Counter(
    "mailx_messages_downgraded", "Messages with 8-bit content for servers that take seven bits only.", ["outcome"], registry=REGISTRY
)
DELIVERY_REPORTS = Counter(
    "mailx_delivery_reports", "Delivery reports made; unreported: nobody may be told of a failure.", ["kind"], registry=REGISTRY
)

# Connections out. outcome: opened, failed.
OUTBOUND_CONNECTIONS = Counter("mailx_outbound_connections", "Sessions begun with other servers.", ["outcome"], registry=REGISTRY)
OUTBOUND_OPEN = Gauge("mailx_outbound_connections_open", "Connections to other servers open now.", registry=REGISTRY)
SENT_UNCERTAIN = Counter(
    "mailx_outbound_uncertain",
    "Messages sent whole whose connection ended before the answer: perhaps sent twice.",
    registry=REGISTRY,
)

# Accounts that are opened by their owners.
OPENED = Counter("mailx_waiting_opened", "Messages that waited for their owner and were opened.", registry=REGISTRY)
SEALED_OPEN = Gauge("mailx_sealed_accounts_open", "Sealed accounts whose keys are in memory.", registry=REGISTRY)

# The queue. outcome: delivered, deferred, bounced; state: pending, sending, deferred, held, sent, failed.
QUEUE_ATTEMPTS = Counter("mailx_queue_attempts", "Recipients tried.", ["outcome"], registry=REGISTRY)
QUEUE_RUNNING = Gauge("mailx_queue_running", "Attempts under way.", registry=REGISTRY)
QUEUE_RECIPIENTS = Gauge(
    "mailx_queue_recipients", "Recipients in the queue; of sent ones those of the last day.", ["state"], registry=REGISTRY
)
QUEUE_UNCERTAIN = Counter(
    "mailx_queue_uncertain", "Recipients that were being sent when a server died: they may get the message twice.", registry=REGISTRY
)
QUEUE_SECONDS = Histogram("mailx_queue_seconds", "Time from acceptance to the next server's.", buckets=_QUEUED, registry=REGISTRY)

# Checks of mail in. check: spf, dkim, arc, dmarc, authentication; result: RFC 8601 2.7. Scans: clean, found, away, skipped.
CHECKS = Counter("mailx_checks", "Verdicts of checks; of several signatures the best.", ["check", "result"], registry=REGISTRY)
CHECK_SECONDS = Histogram(
    "mailx_check_seconds", "Time that SPF, DKIM, ARC and DMARC of a message took.", buckets=_SECONDS, registry=REGISTRY
)
SCANS = Counter("mailx_virus_scans", "Messages that the virus scanner was asked about.", ["outcome"], registry=REGISTRY)

# Callbacks of the webhook. outcome: posted, failed (it is tried again), given_up.
CALLBACKS = Counter("mailx_callbacks", "Attempts to post what became of a call.", ["outcome"], registry=REGISTRY)

# The webhook receiver. status: of the HTTP answer.
WEBHOOK_CALLS = Counter("mailx_webhook_calls", "Calls answered by the webhook receiver.", ["status"], registry=REGISTRY)

# The panel and the admin API. outcome: success, failed, throttled; status: of the HTTP answer.
ADMIN_LOGINS = Counter("mailx_admin_logins", "Logins of administrators.", ["outcome"], registry=REGISTRY)
API_REQUESTS = Counter("mailx_admin_api_requests", "Requests to the admin API over HTTP.", ["status"], registry=REGISTRY)

# Other MailX servers. source: static, found. outcome of looks: mailx, none, refused, unsure; of keys: found, none, refused, regress,
# failed. verdict: rotation, recovery, unannounced.
PEER_LOOKS = Counter("mailx_peer_looks", "Times that a MailX server was looked for.", ["outcome"], registry=REGISTRY)
REMOTE_KEYS = Counter("mailx_remote_keys", "Users elsewhere whose keys were asked for.", ["outcome"], registry=REGISTRY)
PEERS = Gauge("mailx_peers", "Domains whose mail is meant for federation, as far as memory knows.", ["source"], registry=REGISTRY)
PEER_KEYS = Counter("mailx_peer_keys", "Keys of other domains that changed, by what came of it.", ["verdict"], registry=REGISTRY)

# Federation. reason: tls, certificate, domain, blocked, limit, protocol, stalled, version, transfer; of no channel: unreached, unproved;
# direction: in, out. Seconds: out from the first word about a message to the answer, in from the whole message to the answer.
FEDERATION_REFUSED = Counter("mailx_federation_refused", "Peers refused, and refusals by peers.", ["reason"], registry=REGISTRY)
FEDERATION_CHANNELS = Counter("mailx_federation_channels", "Channels opened.", ["direction"], registry=REGISTRY)
FEDERATION_OPEN = Gauge("mailx_federation_channels_open", "Channels open now.", ["direction"], registry=REGISTRY)
FEDERATION_MESSAGES = Counter(  # outcome: taken, repeated, refused, unproved, limited; failed, uncertain (out)
    "mailx_federation_messages", "Messages from and to other MailX servers.", ["direction", "outcome"], registry=REGISTRY
)
FEDERATION_NO_CHANNEL = Counter(
    "mailx_federation_no_channel", "Times that no server of a domain could be used.", ["reason"], registry=REGISTRY
)
FEDERATION_SECONDS = Histogram(
    "mailx_federation_seconds", "Time that a transfer took to its answer.", ["direction"], buckets=_SECONDS, registry=REGISTRY
)
FEDERATION_MESSAGE_OCTETS = Counter(
    "mailx_federation_message_octets", "Octets of messages that were taken.", ["direction"], registry=REGISTRY
)
FEDERATION_OCTETS = Gauge("mailx_federation_calls_octets", "Octets of calls of peers that are not answered yet.", registry=REGISTRY)

# Key logs. verdict: new, same, grown, behind, epoch, lost, fork, unproved.
KEY_LOG_HEADS = Counter("mailx_key_log_heads", "Heads of other domains' key logs that were shown here.", ["verdict"], registry=REGISTRY)

# First contact and blocking. outcome: requested, accepted, rejected, answered (a report on the account's own mail); list: account,
# server; outcome of lists: read, failed; direction: in, out.
FIRST_CONTACTS = Counter("mailx_first_contacts", "Messages of strangers, and what owners decided of them.", ["outcome"], registry=REGISTRY)
BLOCKED = Counter("mailx_blocked_senders", "Times that mail of a blocked sender was refused.", ["list"], registry=REGISTRY)
BLOCK_LISTS = Counter("mailx_shared_list_readings", "Readings of shared block lists.", ["outcome"], registry=REGISTRY)
BLOCK_NOTICES = Counter("mailx_block_notices", "Notices of blocked senders to and from MailX servers.", ["direction"], registry=REGISTRY)

# Sealing (docs/sealing.rst)
SEALED = Counter("mailx_sealed", "Recipients whose mail was sealed here, or should have been and was not.", ["way"], registry=REGISTRY)
UNSEALED = Counter(
    "mailx_seals_opened", "Sealed messages opened for accounts here, by what their seal was worth.", ["result"], registry=REGISTRY
)
