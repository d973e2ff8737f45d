"""SRS: the sender of forwarded mail becomes an address of ours, so that SPF passes there and bounces find their way back.

``SRS0=mac=time=domain=local@ours`` stands for ``local@domain``. A sender that is such an address of another forwarder
becomes ``SRS1=mac=forwarder==rest@ours``, whose bounces go straight to the first forwarder. What would be longer than
a local part may be (RFC 5321 4.5.3.1.1) is kept in the store, and ``SRS0=mac=time==key@ours`` stands for it.

The code is keyed and an address valid for 21 days, so that nobody can have mail sent on by making one up. Codes and
times are in letters that a server on the way may turn to lower case. Failure of the store is Unavailable.
"""

from base64 import b32decode, b32encode
from binascii import Error
from collections.abc import Callable
from hmac import compare_digest
from time import time

from mailx.core.cache import Cache
from mailx.mail.address import LOCAL_LIMIT, Address, AddressError
from mailx.store import Store, senders
from mailx.store.cipher import Cipher

DAY = 86400
VALID_DAYS = 21  # five days of attempts, then of somebody else's, and holidays in between
_CYCLE = 1024  # days until two letters say the same again
_MAC = 8  # letters, 40 bits
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_KEPT = 10000  # senders that are known to be in the store


class SRS:
    """Rewrites senders and finds them again. ``now`` gives seconds since 1970."""

    def __init__(self, store: Store, cipher: Cipher, now: Callable[[], float] = time) -> None:
        self._store = store
        self._cipher = cipher
        self._now = now
        self._kept: Cache[bytes, bool] = Cache(_KEPT, DAY, now)

    async def rewrite(self, sender: Address, domain: str) -> Address:
        """The address at our ``domain`` that stands for ``sender``."""
        kind = _kind(sender)
        if kind == "0":
            local = self._second(sender.domain, sender.local[4:])
        elif kind == "1" and (parts := _first_forwarder(sender.local)) is not None:
            local = self._second(*parts)
        else:
            local = self._first(sender.domain, sender.local)
        if len(local.encode()) > LOCAL_LIMIT:
            local = self._first("", await self._keep(sender))
        return Address(local, domain)

    async def reverse(self, address: Address) -> Address | None:
        """Whom ``address`` stands for; None if this server did not make it, or too long ago."""
        kind = _kind(address)
        try:
            if kind == "0":
                return await self._original(address.local)
            if kind == "1":
                mac, _, rest = address.local[5:].partition("=")
                parts = _first_forwarder(address.local)
                if parts is None or not self._genuine(mac, f"1={rest}"):
                    return None
                return Address.parse(str(Address(f"SRS0{parts[1]}", parts[0])))
        except AddressError:
            return None
        return None

    async def _original(self, local: str) -> Address | None:
        parts = local[5:].split("=", 3)
        if len(parts) < 4 or not self._genuine(parts[0], "0=" + "=".join(parts[1:])) or not self._recent(parts[1]):
            return None
        _, _, domain, rest = parts
        if domain:
            return Address.parse(str(Address(rest, domain)))
        try:
            hash = b32decode(rest.upper() + "=" * (-len(rest) % 8))
        except (Error, ValueError):
            return None
        kept = await self._store.read(senders.find, self._cipher, hash)
        return None if kept is None else Address.parse(kept)

    async def _keep(self, sender: Address) -> str:
        """Keep ``sender`` in the store; the letters of its key."""
        text = str(sender)
        hash = senders.digest(self._cipher, text)
        if not self._kept.get(hash):
            now = int(self._now())
            await self._store.write(senders.keep, self._cipher, text, now, now + (VALID_DAYS + 2) * DAY)
            self._kept.put(hash, True)
        return b32encode(hash).decode().rstrip("=")

    def _first(self, domain: str, local: str) -> str:
        day = int(self._now()) // DAY % _CYCLE
        signed = f"{_DIGITS[day >> 5]}{_DIGITS[day & 31]}={domain}={local}"
        return f"SRS0={self._mac(f'0={signed}')}={signed}"

    def _second(self, forwarder: str, rest: str) -> str:
        signed = f"{forwarder}={rest}"
        return f"SRS1={self._mac(f'1={signed}')}={signed}"

    def _mac(self, text: str) -> str:
        return b32encode(self._cipher.hash(b"srs", b"", text.lower().encode()))[:_MAC].decode()

    def _genuine(self, mac: str, text: str) -> bool:
        return compare_digest(mac.upper().encode(), self._mac(text).encode())

    def _recent(self, stamp: str) -> bool:
        places = [_DIGITS.find(letter) for letter in stamp.upper()]
        if len(places) != 2 or -1 in places:
            return False
        today = int(self._now()) // DAY % _CYCLE
        return (today - (places[0] * 32 + places[1])) % _CYCLE <= VALID_DAYS


def _kind(address: Address) -> str:
    """The digit of an address that looks like SRS, or nothing. Others put ``+`` or ``-`` behind it as well."""
    local = address.local
    if len(local) > 5 and local[:3].upper() == "SRS" and local[3] in "01" and local[4] in "=+-":
        return local[3]
    return ""


def rewritten(address: Address) -> bool:
    """Whether ``address`` looks like one that SRS made, by whomever."""
    return bool(_kind(address))


def _first_forwarder(local: str) -> tuple[str, str] | None:
    """Of ``SRS1=mac=forwarder==rest``: the forwarder, and what stands there behind ``SRS0``."""
    parts = local[5:].split("=", 2)
    if len(parts) < 3 or not parts[1] or parts[2][:1] not in ("=", "+", "-"):
        return None
    return parts[1], parts[2]
