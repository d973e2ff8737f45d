"""The pages of the panel, in the order of the navigation: one line for each."""

from mailx.web.panel.dashboard import Dashboard
from mailx.web.panel.page import Page
from mailx.web.panel.pages.account_life import AccountLife
from mailx.web.panel.pages.accounts import Accounts
from mailx.web.panel.pages.admins import Administrators
from mailx.web.panel.pages.alerts import Alerts
from mailx.web.panel.pages.aliases import Aliases
from mailx.web.panel.pages.api_keys import ApiKeys
from mailx.web.panel.pages.audit import AuditLog
from mailx.web.panel.pages.block_lists import BlockLists
from mailx.web.panel.pages.blocks import Blocks
from mailx.web.panel.pages.calls import Calls
from mailx.web.panel.pages.certificates import Certificates
from mailx.web.panel.pages.contacts import Contacts
from mailx.web.panel.pages.deliveries import Deliveries
from mailx.web.panel.pages.delivery_log import DeliveryLog
from mailx.web.panel.pages.dkim import DKIM
from mailx.web.panel.pages.dns import DNS
from mailx.web.panel.pages.domain_keys import DomainKeyPages
from mailx.web.panel.pages.domains import Domains
from mailx.web.panel.pages.my_account import MyAccount
from mailx.web.panel.pages.peers import Peers
from mailx.web.panel.pages.queue import Queue
from mailx.web.panel.pages.remote_mailboxes import RemoteMailboxes
from mailx.web.panel.pages.secrets import Secrets
from mailx.web.panel.pages.settings import SettingsPage
from mailx.web.panel.pages.smtp import Smtp
from mailx.web.panel.pages.suppressions import Suppressions
from mailx.web.panel.pages.templates import Templates

PAGES: tuple[type[Page], ...] = (
    Dashboard,
    Alerts,
    Queue,
    Deliveries,
    DeliveryLog,
    BlockLists,
    Domains,
    DNS,
    DKIM,
    Accounts,
    AccountLife,
    Blocks,
    Contacts,
    Secrets,
    Aliases,
    Peers,
    DomainKeyPages,
    Calls,
    Suppressions,
    Templates,
    SettingsPage,
    Smtp,
    RemoteMailboxes,
    Certificates,
    Administrators,
    ApiKeys,
    AuditLog,
    MyAccount,
)
