"""Accounts whose mail only their owners open, put together: logins with what they unlock, sealing, opening, conversion.

``parts`` closes what is made here in the reverse order.
"""

from contextlib import AsyncExitStack
from functools import partial
from time import time
from typing import Any

from attrs import frozen
from twisted.internet.threads import deferToThreadPool

from mailx.composition import Ground
from mailx.composition_federation import Identity
from mailx.core.access import Access
from mailx.core.accounts import Accounts
from mailx.core.app_passwords import AppPasswords
from mailx.core.client_keys import ClientKeys
from mailx.core.content import Threads
from mailx.core.conversion import Conversion
from mailx.core.index import Index
from mailx.core.keyring import Keyring
from mailx.core.login_log import LoginLog
from mailx.core.mailboxes import Mailboxes
from mailx.core.opening import Opening
from mailx.core.passwords import Passwords
from mailx.core.reception import Reception
from mailx.core.sealed_accounts import SealedAccounts
from mailx.core.sealed_arrivals import SealedArrivals
from mailx.core.sealed_making import Making
from mailx.core.sealed_outgoing import SealedOutgoing
from mailx.core.sealers import Sealers
from mailx.core.settings import Settings
from mailx.core.unsealing import Belief, Unsealing
from mailx.store import Store
from mailx.store.cipher import Cipher


@frozen
class Owners:
    """Who logs in, and what that opens."""

    keyring: Keyring
    sealed: SealedAccounts
    client_keys: ClientKeys
    app_passwords: AppPasswords
    access: Access
    login_log: LoginLog


async def open_owners(
    settings: Settings,
    store: Store,
    cipher: Cipher,
    accounts: Accounts,
    passwords: Passwords,
    identity: Identity,
    reactor: Any,
    parts: AsyncExitStack,
) -> Owners:
    """Raises Unavailable."""
    config = settings.current.accounts
    keyring = Keyring(cipher, reactor, config.login_cache)
    parts.callback(keyring.stop)
    sealed = SealedAccounts(store, cipher, accounts, passwords, keyring, identity.user_keys)
    await sealed.load()
    app_passwords = AppPasswords(store, cipher, accounts, sealed)
    login_log = LoginLog(store, cipher, reactor, time)
    parts.push_async_callback(login_log.stop)
    access = Access(accounts, config, passwords, reactor, sealed=sealed, app_passwords=app_passwords, keyring=keyring, login_log=login_log)
    parts.push_async_callback(access.stop)
    return Owners(keyring, sealed, ClientKeys(accounts, identity.user_keys), app_passwords, access, login_log)


def open_conversion(ground: Ground, mailboxes: Mailboxes, index: Index, reactor: Any, parts: AsyncExitStack) -> None:
    """Mail of before is sealed, or opened, when an account's mode changes."""
    conversion = Conversion(
        ground.store,
        ground.cipher,
        ground.blobs,
        ground.owners.keyring,
        ground.owners.sealed,
        _threads(reactor),
        reactor,
        file_above=ground.settings.current.store.file_above,
        index=index,
        forget=mailboxes.forget,
    )
    conversion.start()
    parts.push_async_callback(conversion.stop)


def open_opening(ground: Ground, reception: Reception, reactor: Any, parts: AsyncExitStack) -> None:
    """What waits sealed becomes entries when its owner is here."""
    settings, identity, threads = ground.settings, ground.identity, _threads(reactor)
    belief = Belief(
        identity.domain_keys,
        identity.user_keys,
        identity.remote_keys,
        identity.peers,
        local=ground.accounts.local,
        seconds=lambda: settings.current.federation.lookup_seconds,
    )
    opening = Opening(
        ground.store,
        ground.cipher,
        ground.blobs,
        ground.accounts,
        ground.owners.keyring,
        Unsealing(belief, settings.current.server.hostname, threads),
        threads,
        reactor,
        file_above=settings.current.store.file_above,
    )
    opening.start()
    reception.tell_of_waiting(opening.look)
    parts.push_async_callback(opening.stop)


@frozen
class Seals:
    """What seals mail: for recipients elsewhere, and for accounts here."""

    outgoing: SealedOutgoing
    arrivals: SealedArrivals


def sealing(ground: Ground, reactor: Any) -> Seals:
    """For reception."""
    identity, owners, threads, local = ground.identity, ground.owners, _threads(reactor), ground.accounts.local
    making = Making(ground.blobs, threads)
    sealers = Sealers(identity.domain_keys, identity.user_keys, ground.accounts, owners.keyring)
    outgoing = SealedOutgoing(
        identity.remote_keys,
        sealers,
        making,
        local=local,
        known=identity.peers.known,
        seconds=lambda: ground.settings.current.federation.lookup_seconds,
    )
    return Seals(outgoing, SealedArrivals(identity.user_keys, owners.sealed, sealers, making, ground.blobs, threads, local=local))


def _threads(reactor: Any) -> Threads:
    return partial(deferToThreadPool, reactor, reactor.getThreadPool())
