"""Imports: mail that lies elsewhere comes into an account, resumable at any point and never twice.

``mailxctl`` reads the source and brings it here in batches; a journal (:mod:`mailx.store.imports`) knows what has come. What
is wrong with a request is DirectoryError, with what to do about it; Refused and Unavailable come through.
"""

import json
import re
from collections.abc import Mapping, Sequence
from time import time
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from mailx.core import audit
from mailx.core.accounts import Accounts
from mailx.core.bringing import Brought
from mailx.core.content import Content
from mailx.core.import_check import Check, Found
from mailx.core.mailboxes import Mailboxes
from mailx.core.reception import Reception
from mailx.core.turns import Turns
from mailx.core.users import DELETED, DirectoryError, User
from mailx.mail.envelope import Origin
from mailx.mail.message import Message
from mailx.mail.names import INBOX, MailboxError, normal
from mailx.mail.names import new as new_name
from mailx.mail.rights import OTHERS
from mailx.store import Store, Txn, imports, keywords
from mailx.store.cipher import Cipher
from mailx.store.messages import scope

log = Logger()

JSON: TypeAlias = Any

LISTED = 500  # imports shown
UPLOADS = 8  # large messages on their way at a time
IDLE = 600.0  # seconds after which one that gets no more is given up

_PURPOSE = b"import"
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,100}\Z')  # an atom, RFC 9051 9


@frozen
class Folder:
    """A folder of a source: its name as it would be here, and its special use."""

    name: str
    special_use: str = ""


@frozen
class Item:
    """A message of a source. ``content`` None: it was uploaded under the name ``upload``."""

    key: bytes  # what names it at its source
    mailbox: str
    flags: int = 0
    keywords: tuple[str, ...] = ()
    received: int | None = None
    content: bytes | None = None
    upload: str = ""


@frozen
class Told:
    """An import as administrators see it."""

    id: int
    address: str
    kind: str
    label: str
    started: int
    finished: int | None
    messages: int
    last: Mapping[str, int]


@frozen
class _Upload:
    content: Content
    size: int
    given_up: IDelayedCall


class Imports:
    """All imports of this server. ``size``: octets of the largest message that is taken."""

    def __init__(
        self,
        store: Store,
        cipher: Cipher,
        accounts: Accounts,
        mailboxes: Mailboxes,
        reception: Reception,
        check: Check,
        reactor: Any,
        size: int,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._accounts = accounts
        self._mailboxes = mailboxes
        self._reception = reception
        self._check = check
        self._reactor = reactor
        self.size = size
        self._uploads: dict[tuple[int, str], _Upload] = {}

    async def plan(self, address: str, folders: Sequence[Folder], into: str = "") -> list[tuple[str, bool]]:
        """The mailbox that each folder's messages go to, and whether it is there; nothing is changed."""
        user = await self._user(address)
        held = await self._mailboxes.list(user)
        there = {box.name for box in held}
        uses = {box.special_use: box.name for box in held if box.special_use}
        found = []
        for folder in folders:
            name = _place(folder, into, uses)
            try:
                name = new_name(name)
            except MailboxError as error:
                raise DirectoryError("invalid", f"{name} cannot be made: {error.text}", "Rename the folder at its source.") from None
            found.append((name, name in there))
        return found

    async def begin(self, kind: str, label: str, address: str, folders: Sequence[Folder], into: str = "") -> tuple[int, list[str]]:
        """Begin an import, or go on with it: its id, and the mailbox of each folder, made if it is missing."""
        user = await self._user(address)
        names = await self.plan(address, folders, into)
        source = self._cipher.hash(_PURPOSE, scope(user.id), f"{kind}\0{label}".encode("utf-8", "surrogateescape"))
        told = {"kind": kind, "label": label, "last": {}}
        audit.note(target=str(user.address), after={"source": kind, "from": label, "folders": len(folders)})
        begun = await self._store.write(imports.begin, user.id, source, self._sealed(user.id, source, told), int(time()))
        for folder, (name, there) in zip(folders, names, strict=True):
            if not there:
                await self._made(user, name, "" if into else folder.special_use)
        log.info("Import began", event="import.began", import_id=begun.id, user_id=user.id, email=str(user.address), source=kind)
        return begun.id, [name for name, _ in names]

    async def known(self, id: int, keys: Sequence[bytes]) -> set[bytes]:
        """Those of ``keys`` whose messages have come."""
        hashes = self._hashes(id, keys)
        await self._import(id)
        return {hashes[each.key] for each in await self._store.read(imports.known, id, list(hashes))}

    async def bring(self, id: int, items: Sequence[Item]) -> tuple[int, int]:
        """Take messages, all or none of them: how many are new, and how many keywords there was no room for, or no name may be."""
        user = await self._owner(id)
        bits, left_out = await self._bits(user, {name for item in items for name in item.keywords})
        messages: list[Brought] = []
        turns = Turns(self._reactor)
        try:
            for item in items:
                await turns.spare()
                message = await self._message(id, item)
                key = self._key(id, item.key)
                messages.append(Brought(key, normal(item.mailbox), message, _mask(item, bits), item.received))
        except BaseException:
            await self._reception.discard([each.message for each in messages])
            raise
        try:
            return await self._reception.bring(user, id, messages), left_out
        except MailboxError as error:
            if error.code == "OVERQUOTA":
                remedy = f"Give the account more room with `mailxctl user quota {user.address} SIZE`, then run the import again."
                raise DirectoryError("limit", f"the quota of {user.address} does not hold more", remedy) from None
            raise DirectoryError("in_use", error.text, "Run the import again: it goes on where it stopped.") from None

    async def upload(self, id: int, name: str, data: bytes, size: int) -> None:
        """Take the next octets of a message of ``size`` octets that is too large for one request."""
        held = self._uploads.get((id, name))
        if held is None:
            await self._owner(id)
            if size > self.size:
                raise DirectoryError("invalid", f"a message of {size} octets is larger than imap.append_size", "Raise that setting.")
            if len(self._uploads) >= UPLOADS:
                raise DirectoryError("limit", "too many large messages are on their way", "Run one import at a time.")
            content = self._reception.content(Origin("import", ""), b"", self.size, submitted=False)
            held = self._uploads[id, name] = _Upload(content, size, self._reactor.callLater(IDLE, self._give_up, (id, name)))
        held.given_up.reset(IDLE)
        if (wait := held.content.write(data)) is not None:
            await wait

    async def flag(self, id: int, items: Sequence[Item]) -> int:
        """Bring what has changed of flags at the source to messages that have come: how many changed here."""
        user = await self._owner(id)
        bits, _ = await self._bits(user, {name for item in items for name in item.keywords})
        wanted = {self._key(id, item.key): _mask(item, bits) for item in items}
        by_mailbox: dict[int, list[tuple[bytes, int]]] = {}
        for each in await self._store.read(imports.known, id, list(wanted)):
            if each.flags != wanted[each.key]:
                by_mailbox.setdefault(each.mailbox, []).append((each.key, wanted[each.key]))
        return sum([await self._store.write(imports.flag, id, mailbox, flags) for mailbox, flags in sorted(by_mailbox.items())])

    async def check(self, id: int, keys: Sequence[bytes]) -> dict[bytes, tuple[Found, list[str]]]:
        """What is stored of the messages of these keys, opened again, with the keywords that they have."""
        user = await self._owner(id)
        hashes = self._hashes(id, keys)
        found = await self._check.found(user.id, id, list(hashes))
        names = await self._store.read(keywords.names, self._cipher, user.id)
        named = {mask: [name for bit, name in names.items() if mask >> bit & 1] for mask in {each.flags for each in found.values()}}
        return {hashes[key]: (each, named[each.flags]) for key, each in found.items()}

    async def finish(self, id: int, last: Mapping[str, int]) -> None:
        """A run came to its end, with these counts."""
        held = await self._import(id)
        told = {**self._opened(held), "last": dict(last)}
        user = await self._accounts.user(held.account)
        audit.note(target="" if user is None else str(user.address), after={"from": told["label"], **last})
        await self._store.write(imports.finish, id, self._sealed(held.account, held.source, told), int(time()))
        self._drop(id)
        log.info("Import ended", event="import.ended", import_id=id, user_id=held.account, **last)

    async def list(self) -> list[Told]:
        """The latest imports first."""
        found = []
        for each in await self._store.read(imports.every, LISTED):
            user, told = await self._accounts.user(each.account), self._opened(each)
            address = "" if user is None else str(user.address)
            found.append(Told(each.id, address, told["kind"], told["label"], each.started, each.finished, each.messages, told["last"]))
        return found

    async def forget(self, id: int) -> None:
        """Forget what has come of an import: the mail stays, and the next run brings everything anew."""
        held = await self._import(id)
        audit.note(after={"from": self._opened(held)["label"]})
        self._drop(id)
        while await self._store.write(imports.forget, id):
            pass

    async def stop(self) -> None:
        """Give up what is on its way."""
        for name in list(self._uploads):
            self._give_up(name)

    async def _user(self, address: str) -> User:
        user = (await self._accounts.find(address)).user
        if user.state == DELETED:
            raise DirectoryError("invalid", f"{user.address} was deleted", f"Have it back with `mailxctl user restore {user.address}`.")
        return user

    async def _import(self, id: int) -> imports.Import:
        held = await self._store.read(imports.find, id)
        if held is None:
            raise DirectoryError("not_found", f"there is no import {id}", "`mailxctl import list` shows them.")
        return held

    async def _owner(self, id: int) -> User:
        """Whose mailboxes an import that runs may change: one that came to its end was told of, and begins anew."""
        held = await self._import(id)
        if held.finished is not None:
            raise DirectoryError("in_use", f"import {id} is over", "Begin it again.")
        user = await self._accounts.user(held.account)
        if user is None:
            raise DirectoryError("not_found", "the account is gone")
        return user

    async def _made(self, user: User, name: str, special_use: str) -> None:
        """Make a mailbox, and show it."""
        try:
            try:
                await self._mailboxes.create(user, name, special_use)
            except MailboxError as error:
                if error.code == "USEATTR":
                    await self._mailboxes.create(user, name)
                elif error.code != "ALREADYEXISTS":
                    raise
            await self._mailboxes.subscribe(user, name)
        except MailboxError as error:
            raise DirectoryError("invalid", f"{name} cannot be made: {error.text}") from None

    async def _message(self, id: int, item: Item) -> Message:
        if item.content is not None:
            return Message(item.content, len(item.content), not item.content.isascii())
        held = self._uploads.pop((id, item.upload), None)
        if held is None:
            raise DirectoryError("not_found", "a large message was given up", "Run the import again: it goes on where it stopped.")
        held.given_up.cancel()
        if held.content.size != held.size:
            held.content.abort()
            raise DirectoryError("invalid", f"{held.content.size} octets of a message came where {held.size} were announced")
        return await held.content.finish()

    async def _bits(self, user: User, names: set[str]) -> tuple[dict[str, int], int]:
        """The bit of each keyword, and how many have none."""
        wanted = sorted(name for name in names if _KEYWORD.match(name))
        bits: dict[str, int] = {}
        if wanted:
            bits = await self._store.read(_found, self._cipher, user.id, wanted)
        if len(bits) < len(wanted):
            bits = await self._store.write(_assigned, self._cipher, user.id, wanted)
        return bits, len(names) - len(bits)

    def _key(self, id: int, key: bytes) -> bytes:
        return self._cipher.hash(b"imported", id.to_bytes(8, "big"), key)

    def _hashes(self, id: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {self._key(id, key): key for key in keys}

    def _sealed(self, account: int, source: bytes, told: JSON) -> bytes:
        return self._cipher.seal(_PURPOSE, scope(account) + source, json.dumps(told).encode())

    def _opened(self, held: imports.Import) -> JSON:
        return json.loads(self._cipher.open(_PURPOSE, scope(held.account) + held.source, held.sealed))

    def _drop(self, id: int) -> None:
        for name in [name for name in self._uploads if name[0] == id]:
            self._give_up(name)

    def _give_up(self, name: tuple[int, str]) -> None:
        held = self._uploads.pop(name)
        if held.given_up.active():
            held.given_up.cancel()
        held.content.abort()


def _place(folder: Folder, into: str, uses: Mapping[str, str]) -> str:
    """The mailbox for a folder of a source."""
    name = normal(folder.name)
    if name.partition("/")[0] == OTHERS:  # where other people's mailboxes are
        name = f"{OTHERS}_{name[len(OTHERS) :]}"
    if into:
        return normal(into if name == INBOX else f"{into}/{name}")
    return uses.get(folder.special_use, name) if folder.special_use else name


def _mask(item: Item, bits: Mapping[str, int]) -> int:
    mask = item.flags
    for name in item.keywords:
        mask |= bits.get(name, 0)
    return mask


def _found(txn: Txn, cipher: Cipher, account: int, names: Sequence[str]) -> dict[str, int]:
    found = {name: keywords.find(txn, cipher, account, [name]) for name in names}
    return {name: mask for name, mask in found.items() if mask}


def _assigned(txn: Txn, cipher: Cipher, account: int, names: Sequence[str]) -> dict[str, int]:
    """The bits of ``names``, as far as there are any left."""
    bits: dict[str, int] = {}
    for name in names:
        try:
            bits[name] = keywords.assign(txn, cipher, account, [name])
        except MailboxError:
            continue
    return bits
