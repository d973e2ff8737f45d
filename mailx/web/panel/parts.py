"""Everything that pages may need, handed to each of them whole."""

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen

from mailx.core.accounts import Accounts
from mailx.core.admin_sessions import Sessions
from mailx.core.admins import Admins
from mailx.core.alerts import Alerts
from mailx.core.api_keys import ApiKeys
from mailx.core.app_passwords import AppPasswords
from mailx.core.audit import Log
from mailx.core.block_lists import BlockLists
from mailx.core.callbacks import Callbacks
from mailx.core.calls import Calls
from mailx.core.client_keys import ClientKeys
from mailx.core.contacts import Contacts
from mailx.core.delivery_log import DeliveryLog
from mailx.core.domain_keys import DomainKeys
from mailx.core.fates import Fates
from mailx.core.figures import Figures
from mailx.core.key_backup import KeyBackup
from mailx.core.lifecycle import Lifecycle
from mailx.core.peer_control import PeerControl
from mailx.core.person_export import Person
from mailx.core.probing import IMailOutProbe
from mailx.core.queue import Queue
from mailx.core.reception import Reception
from mailx.core.records import Records
from mailx.core.remote_mailboxes import RemoteMailboxes
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.settings import Settings
from mailx.core.signing import Signing
from mailx.core.suppressions import Suppressions
from mailx.core.templates import Templates
from mailx.core.timeline import Timeline
from mailx.core.user_keys import UserKeys


class Certificate(Protocol):
    """One certificate that is served. Times are seconds since 1970."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def subject(self) -> str: ...

    @property
    def issuer(self) -> str: ...

    @property
    def serial(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def begins(self) -> float: ...

    @property
    def expires(self) -> float: ...

    @property
    def certificate_file(self) -> str: ...

    @property
    def key_file(self) -> str: ...

    @property
    def self_signed(self) -> bool: ...

    @property
    def generated(self) -> bool:
        """Whether this server made it for itself."""

    @property
    def problem(self) -> str:
        """Why its files were not read again; empty: they were."""


class Certificates(Protocol):
    """The certificates of the listeners (:mod:`mailx.ops.certificates`)."""

    def overview(self) -> Sequence[Certificate]:
        """What is served, the default first."""

    def reload(self) -> list[str]:
        """Read all files again; what is wrong with them."""


@frozen(kw_only=True)
class Parts:
    """The parts of the running server. A page takes what it needs and keeps nothing of it beyond the request."""

    settings: Settings
    reactor: Any
    started: float  # seconds since 1970
    admins: Admins
    sessions: Sessions
    api_keys: ApiKeys
    audit: Log
    accounts: Accounts
    signing: Signing
    records: Records
    certificates: Certificates
    reception: Reception
    queue: Queue
    timeline: Timeline
    delivery_log: DeliveryLog
    figures: Figures
    alerts: Alerts
    templates: Templates
    calls: Calls
    fates: Fates
    callbacks: Callbacks
    suppressions: Suppressions
    mail_out_probe: IMailOutProbe
    remote_mailboxes: RemoteMailboxes
    domain_keys: DomainKeys | None = None
    user_keys: UserKeys | None = None
    key_backup: KeyBackup | None = None
    peers: PeerControl | None = None  # without federation
    contacts: Contacts | None = None
    block_lists: BlockLists | None = None
    sealed_accounts: SealedAccounts | None = None
    client_keys: ClientKeys | None = None
    app_passwords: AppPasswords | None = None
    lifecycle: Lifecycle | None = None
    person: Person | None = None
