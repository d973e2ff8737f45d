"""What time does to mail and accounts, put together: retention, grace, erasure, warnings, what an export of a person needs, imports."""

from contextlib import AsyncExitStack
from functools import partial
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThreadPool

from mailx.composition import Ground, Post
from mailx.composition_federation import Acquaintance
from mailx.core.audit import Log
from mailx.core.delivery_log import DeliveryLog
from mailx.core.departures import Departures
from mailx.core.forgetting import Forgetting
from mailx.core.import_check import Check
from mailx.core.importing import Imports
from mailx.core.lifecycle import Lifecycle
from mailx.core.mailboxes import Mailboxes
from mailx.core.person_export import Person
from mailx.core.quota_warnings import QuotaWarnings
from mailx.core.reception import Reception
from mailx.core.recounting import Recounting
from mailx.core.retention import Retention


@frozen
class Living:
    """What runs, what tells of a person, and what brings mail from elsewhere."""

    lifecycle: Lifecycle
    person: Person
    imports: Imports


def open_lifecycle(
    ground: Ground,
    mailboxes: Mailboxes,
    post: Post,
    reception: Reception,
    audit: Log,
    delivery_log: DeliveryLog,
    acquaintance: Acquaintance,
    reactor: Any,
    parts: AsyncExitStack,
) -> Living:
    """When mail can be accepted, since warnings are mailed. It runs when this returns."""
    store, cipher, accounts, settings, owners = ground.store, ground.cipher, ground.accounts, ground.settings, ground.owners
    retention = Retention(store, cipher, ground.blobs, accounts, settings, reactor, time)
    forgetting = Forgetting(store, cipher, post.timeline, delivery_log, settings.current.accounts.separator, reactor)
    lifecycle = Lifecycle(
        retention,
        Departures(store, accounts, forgetting, settings, time),
        Recounting(store, accounts),
        QuotaWarnings(store, settings, reception.accept, reactor, time),
        owners.login_log,
        reactor,
        time,
    )
    lifecycle.start()
    parts.push_async_callback(lifecycle.stop)
    person = Person(
        store,
        accounts,
        mailboxes,
        retention,
        post.timeline,
        audit,
        owners.login_log,
        acquaintance.contacts,
        owners.app_passwords,
        owners.sealed,
        owners.keyring,
        ground.identity.user_keys,
    )
    check = Check(store, cipher, ground.blobs, owners.keyring, partial(deferToThreadPool, reactor, reactor.getThreadPool()))
    imports = Imports(store, cipher, accounts, mailboxes, reception, check, reactor, settings.current.imap.append_size)
    parts.push_async_callback(imports.stop)
    return Living(lifecycle, person, imports)
