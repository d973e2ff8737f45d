"""What our domains say of themselves: the document behind the public site, and the TXT record.

A document is signed when it is asked for and kept for a day, or until something in it changes.
"""

from collections.abc import Iterable, Sequence

from attrs import evolve

from mailx.core.settings import Settings
from mailx.identity import vrf
from mailx.identity.documents import VALID_SECONDS, ServerDocument, Servers, record_text
from mailx.identity.domain_keys import HISTORY_LIMIT, DomainKey
from mailx.identity.encoding import b64
from mailx.identity.statements import Signer, Statement

AGAIN_SECONDS = 86400  # well before its end, so that copies kept elsewhere stay good


class Publication:
    """Makes documents. ``capabilities`` are what this server can do, beside what every one can."""

    def __init__(self, settings: Settings, capabilities: Iterable[str] = ()) -> None:
        self._settings = settings
        self._capabilities = frozenset(capabilities)
        self._signed: dict[str, tuple[ServerDocument, Statement]] = {}

    @property
    def servers(self) -> Servers:
        """Where other servers reach this one; empty when it takes no mail by federation."""
        config = self._settings.current
        federation = config.federation
        if not federation.port:
            return ()
        host = (federation.host or config.server.hostname).lower().strip("[]")
        return ((host, federation.public_port or federation.port),)

    def document(self, domain: str, history: Sequence[DomainKey], log_secret: bytes, signer: Signer, now: int) -> Statement:
        """The signed document of ``domain``; raises Malformed if the settings do not allow one."""
        current = history[-1]
        wanted = ServerDocument(
            domain,
            self.servers,
            current.key,
            tuple(history[-HISTORY_LIMIT:]),
            current.recovery,
            self._capabilities,
            self._settings.current.federation.message_size,
            now,
            now + VALID_SECONDS,
            {"vrf": b64(vrf.public(log_secret))} if log_secret else None,
        )
        held = self._signed.get(domain)
        if held is not None and held[0].issued <= now < held[0].issued + AGAIN_SECONDS:
            document, statement = held
            if document == evolve(wanted, issued=document.issued, expires=document.expires):
                return statement
        statement = wanted.signed(signer)
        self._signed[domain] = (wanted, statement)
        return statement

    def record(self, key: bytes) -> str:
        """The text of the TXT record of a domain with this key; empty when there is nothing to say."""
        return record_text(key, self.servers) if self.servers else ""
