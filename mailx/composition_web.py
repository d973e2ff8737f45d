"""The webhook receiver and the control panel, with what only they need, put together.

Like :mod:`mailx.composition` for mail out: the parts are made in the order of their needs, and ``parts`` closes them in the
reverse order. What keeps notes of deliveries is opened before the queue, so that it hears of those that end last.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from time import time
from typing import Any

from attrs import frozen
from twisted.application.service import IService

from mailx.composition import Ground, Post
from mailx.composition_federation import Acquaintance
from mailx.composition_lifecycle import Living
from mailx.core.accounts import Accounts
from mailx.core.admin_sessions import Sessions
from mailx.core.admins import Admins
from mailx.core.alerts import Alerts
from mailx.core.api_keys import ApiKeys
from mailx.core.audit import Log
from mailx.core.call_states import CallStates
from mailx.core.callbacks import Callbacks
from mailx.core.calls import Calls
from mailx.core.delivery_log import DeliveryLog
from mailx.core.fates import Fates
from mailx.core.figures import Figures
from mailx.core.indexer import Indexer
from mailx.core.key_backup import KeyBackup
from mailx.core.passwords import Passwords
from mailx.core.posting import Posting
from mailx.core.probing import MailboxProbes
from mailx.core.progress import Progress
from mailx.core.reception import Reception
from mailx.core.records import Records
from mailx.core.remote_mailboxes import RemoteMailboxes
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings
from mailx.core.suppressions import Suppressions
from mailx.core.templates import Templates
from mailx.ops.administration import Administration
from mailx.ops.certificates import Certificates
from mailx.ops.watch import Watch
from mailx.store import Store
from mailx.store.cipher import Cipher


@frozen
class People:
    """Who may administer, and what they did."""

    admins: Admins
    sessions: Sessions
    api_keys: ApiKeys
    audit: Log

    def set_up_code(self) -> str:
        """With which the first administrator is made; empty when there is one."""
        return self.admins.set_up_code() if self.admins.empty else ""


async def open_people(settings: Settings, store: Store, cipher: Cipher, reactor: Any, parts: AsyncExitStack) -> People:
    """Raises Unavailable."""
    audit = Log(store, cipher, reactor, lambda: settings.current.panel.audit_days)
    audit.start()
    parts.push_async_callback(audit.stop)
    passwords = Passwords(reactor)  # of their own, so that the logins of mail programs cannot crowd administrators out
    parts.callback(passwords.stop)
    admins = Admins(store, cipher, passwords, reactor)
    await admins.load()
    sessions = Sessions(store, cipher, admins, settings, reactor)
    await sessions.load()
    sessions.start()
    parts.push_async_callback(sessions.stop)
    return People(admins, sessions, ApiKeys(store, cipher), audit)


@frozen
class Aftermath:
    """What becomes of mail after the queue is done with it: notes, the fate of calls, callbacks. It runs from ``start`` on."""

    posting: Posting
    figures: Figures
    delivery_log: DeliveryLog
    suppressions: Suppressions
    calls: Calls
    fates: Fates
    callbacks: Callbacks
    call_states: CallStates

    def start(self) -> None:
        """Catch up with what happened before. Call when the queue runs."""
        self.callbacks.start()
        self.call_states.start()


async def open_aftermath(
    settings: Settings, store: Store, cipher: Cipher, resolver: Resolver, progress: Progress, reactor: Any, parts: AsyncExitStack
) -> Aftermath:
    """Before the queue, so that it hears of everything by ``progress``, and of what ends last. Raises Unavailable."""
    posting = Posting(resolver, settings, reactor)
    figures = Figures(store, reactor)
    figures.start(progress)
    parts.push_async_callback(figures.stop)
    delivery_log = DeliveryLog(store, cipher, settings, reactor)
    delivery_log.start()
    parts.push_async_callback(delivery_log.stop)
    progress.listen(delivery_log.note)
    suppressions = Suppressions(store, cipher, settings, reactor)
    await suppressions.load()
    parts.callback(suppressions.stop)
    calls = Calls(store, cipher, reactor, settings.current.queue.keep_days)
    calls.start()
    parts.callback(calls.stop)
    callbacks = Callbacks(store, cipher, calls, posting, settings, reactor)
    parts.push_async_callback(callbacks.stop)
    call_states = CallStates(store, progress, suppressions, callbacks.wake, reactor)
    parts.push_async_callback(call_states.stop)
    return Aftermath(posting, figures, delivery_log, suppressions, calls, Fates(store, cipher), callbacks, call_states)


async def open_alerts(
    settings: Settings,
    store: Store,
    cipher: Cipher,
    post: Post,
    reception: Reception,
    after: Aftermath,
    certificates: Certificates,
    reactor: Any,
    parts: AsyncExitStack,
) -> Alerts:
    """When mail can be accepted, since alerts are mailed. Raises Unavailable."""
    server = settings.current.server
    alerts = Alerts(store, cipher, settings, server.hostname, reactor)
    post.progress.listen(alerts.note)
    await alerts.start(reception.accept, after.posting)
    parts.push_async_callback(alerts.stop)
    watch = Watch(alerts, settings, Path(server.data), certificates, reactor)
    watch.start()
    parts.push_async_callback(watch.stop)
    return alerts


async def open_templates(settings: Settings, store: Store, cipher: Cipher, reactor: Any, parts: AsyncExitStack) -> Templates:
    """Raises Unavailable."""
    templates = Templates(store, cipher, settings, reactor)
    await templates.load()
    templates.start()
    parts.callback(templates.stop)
    return templates


@frozen
class House:
    """What the web edges work with, beside mail out and those who administer."""

    settings: Settings
    store: Store
    cipher: Cipher
    accounts: Accounts
    reception: Reception
    templates: Templates
    alerts: Alerts
    records: Records
    certificates: Certificates
    administration: Administration
    living: Living


def administer(
    ground: Ground,
    indexer: Indexer,
    post: Post,
    records: Records,
    people: People,
    after: Aftermath,
    acquaintance: Acquaintance,
    living: Living,
    reactor: Any,
) -> Administration:
    """The admin API, for the socket of ``mailxctl`` and for programs at the panel's port."""
    identity = ground.identity
    return Administration(
        ground.accounts,
        ground.settings.current,
        indexer,
        queue=post.queue,
        timeline=post.timeline,
        signing=post.signing,
        records=records,
        admins=people.admins,
        api_keys=people.api_keys,
        audit=people.audit,
        suppressions=after.suppressions,
        settings=ground.settings,
        domain_keys=identity.domain_keys,
        user_keys=identity.user_keys,
        key_backup=KeyBackup(identity.domain_keys, reactor),
        peers=identity.control,
        contacts=acquaintance.contacts,
        block_lists=acquaintance.block_lists,
        key_log=identity.key_log,
        log_witness=identity.witness,
        log_audit=identity.audits,
        sealed_accounts=ground.owners.sealed,
        app_passwords=ground.owners.app_passwords,
        client_keys=ground.owners.client_keys,
        lifecycle=living.lifecycle,
        person=living.person,
        imports=living.imports,
    )


def receiver(house: House, after: Aftermath, reactor: Any) -> IService:
    """The webhook receiver at its port."""
    from mailx.web.webhook.receiver import Receiver
    from mailx.web.webhook.server import ReceiverService
    from mailx.web.webhook.status import Status

    receiver = Receiver(
        house.settings,
        house.reception,
        after.calls,
        house.templates,
        after.suppressions,
        Status(after.calls, after.fates, after.callbacks),
        after.figures,
        after.callbacks.wake,
        house.settings.current.server.hostname,
        reactor,
    )
    service: IService = ReceiverService(receiver, house.settings, house.certificates, reactor)
    return service


def panel(house: House, post: Post, people: People, after: Aftermath, ground: Ground, acquaintance: Acquaintance, reactor: Any) -> IService:
    """The control panel at its port."""
    from mailx.outbound.probe import MailOutProbe
    from mailx.web.panel.api import API
    from mailx.web.panel.app import Panel
    from mailx.web.panel.parts import Parts
    from mailx.web.panel.service import PanelService

    every = Parts(
        settings=house.settings,
        accounts=house.accounts,
        reactor=reactor,
        admins=people.admins,
        sessions=people.sessions,
        api_keys=people.api_keys,
        audit=people.audit,
        queue=post.queue,
        timeline=post.timeline,
        signing=post.signing,
        records=house.records,
        certificates=house.certificates,
        reception=house.reception,
        figures=after.figures,
        delivery_log=after.delivery_log,
        alerts=house.alerts,
        suppressions=after.suppressions,
        calls=after.calls,
        templates=house.templates,
        fates=after.fates,
        callbacks=after.callbacks,
        mail_out_probe=MailOutProbe(house.settings.current.server.hostname, post.outgoing, post.resolver, reactor),
        remote_mailboxes=_remote_mailboxes(house, post, reactor),
        started=time(),
        domain_keys=ground.identity.domain_keys,
        user_keys=ground.identity.user_keys,
        key_backup=KeyBackup(ground.identity.domain_keys, reactor),
        peers=ground.identity.control,
        contacts=acquaintance.contacts,
        block_lists=acquaintance.block_lists,
        sealed_accounts=ground.owners.sealed,
        app_passwords=ground.owners.app_passwords,
        client_keys=ground.owners.client_keys,
        lifecycle=house.living.lifecycle,
        person=house.living.person,
    )
    site = Panel(every, api=API(house.administration, people.api_keys))
    service: IService = PanelService(site, house.settings.current.panel, house.certificates, reactor)
    return service


def _remote_mailboxes(house: House, post: Post, reactor: Any) -> RemoteMailboxes:
    from mailx.imap.probe import IMAPProbe
    from mailx.pop3.probe import POP3Probe

    probes = MailboxProbes(IMAPProbe(post.resolver, reactor), POP3Probe(post.resolver, reactor))
    return RemoteMailboxes(house.store, house.cipher, probes)
