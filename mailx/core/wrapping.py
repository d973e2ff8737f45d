"""How the key of a sealed account is wrapped, and what it opens. Pure; the format is written down in docs/sealed-accounts.rst.

Each credential of the owner becomes a seed: the password by Argon2id, codes that this server made (app passwords, the recovery
code) by BLAKE2b, as nobody guesses those. The seed is an X25519 key; the account key is wrapped in a sealed box for its public
half, so that it can be wrapped for a credential that is not at hand. Under the account key lies the bundle: the private keys
that open what was sealed for the account, sign in its name, and open what lies in the store. Failure is :class:`WrongSecret`.
"""

import json
import secrets
from base64 import b64decode, b64encode
from hashlib import blake2b
from typing import Any

from attrs import frozen
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from mailx.core.keyring import AccountKeys, AccountSigner

KEY_OCTETS = 32
SALT_OCTETS = 16
CODE_COST = "blake2b"  # how a code becomes a key

_NONCE_OCTETS = 24
_FORMER = 20  # earlier sealing keys that are kept
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike
_GROUP = 5
_APP_GROUPS = 5  # 124 random bits
_RECOVERY_GROUPS = 8  # 198 random bits


class WrongSecret(Exception):
    """The secret does not open it."""


def app_password() -> str:
    """A fresh app password."""
    return _code(_APP_GROUPS)


def recovery_code() -> str:
    """A fresh recovery code."""
    return _code(_RECOVERY_GROUPS)


def app_secret(text: str) -> bytes | None:
    """``text`` as app passwords are compared, if it can be one; however it was typed."""
    return _plain(text, _APP_GROUPS)


def recovery_secret(text: str) -> bytes | None:
    """``text`` as recovery codes are compared, if it can be one."""
    return _plain(text, _RECOVERY_GROUPS)


def seed_of(secret: bytes, salt: bytes) -> bytes:
    """The seed of a code that this server made."""
    return blake2b(secret, key=salt, digest_size=KEY_OCTETS, person=b"mailx code").digest()


def public_of(seed: bytes) -> bytes:
    """For whom to wrap."""
    return bytes(PrivateKey(seed).public_key)


def wrap(public: bytes, account: int, key: bytes) -> bytes:
    """The account key for whoever has the seed of ``public``."""
    return SealedBox(PublicKey(public)).encrypt(account.to_bytes(8, "big") + key)


def unwrap(seed: bytes, account: int, wrapped: bytes) -> bytes:
    """The account key; raises WrongSecret."""
    try:
        plain = SealedBox(PrivateKey(seed)).decrypt(wrapped)
    except (CryptoError, ValueError, TypeError):
        raise WrongSecret from None
    if len(plain) != 8 + KEY_OCTETS or plain[:8] != account.to_bytes(8, "big"):
        raise WrongSecret
    return plain[8:]


@frozen(repr=False)
class Fresh:
    """A new account's keys: what opens them, and what they are."""

    key: bytes
    keys: AccountKeys

    @property
    def sealing(self) -> bytes:
        """The public half to seal to."""
        return public_of(self.keys.sealing)

    def bundle(self) -> bytes:
        """The private keys as they are stored."""
        return pack(self.key, self.keys)


def fresh(account: int) -> Fresh:
    """Keys that never were before."""
    keys = AccountKeys(account, secrets.token_bytes(32), AccountSigner(secrets.token_bytes(32)), secrets.token_bytes(32))
    return Fresh(secrets.token_bytes(KEY_OCTETS), keys)


def renewed(keys: AccountKeys) -> AccountKeys:
    """Other keys to seal to and to sign with; what the former ones sealed still opens."""
    former = (keys.sealing, *keys.former)[:_FORMER]
    return AccountKeys(keys.account, secrets.token_bytes(32), AccountSigner(secrets.token_bytes(32)), keys.vault, former)


def pack(key: bytes, keys: AccountKeys) -> bytes:
    """The bundle: nonce, then XChaCha20-Poly1305 of JSON, bound to the account."""
    fields: dict[str, Any] = {
        "sealing": _text(keys.sealing),
        "former": [_text(each) for each in keys.former],
        "signing": _text(keys.signing.seed),
        "vault": _text(keys.vault),
    }
    nonce = secrets.token_bytes(_NONCE_OCTETS)
    return nonce + xchacha_encrypt(json.dumps(fields).encode("ascii"), _context(keys.account), nonce, key)


def unpack(key: bytes, account: int, bundle: bytes) -> AccountKeys:
    """The private keys; raises WrongSecret."""
    try:
        fields = json.loads(xchacha_decrypt(bundle[_NONCE_OCTETS:], _context(account), bundle[:_NONCE_OCTETS], key))
    except (CryptoError, ValueError, TypeError):
        raise WrongSecret from None
    former = tuple(b64decode(each) for each in fields["former"])
    signer = AccountSigner(b64decode(fields["signing"]))
    return AccountKeys(account, b64decode(fields["sealing"]), signer, b64decode(fields["vault"]), former)


def _context(account: int) -> bytes:
    return b"mailx account %d" % account


def _text(octets: bytes) -> str:
    return b64encode(octets).decode("ascii")


def _code(groups: int) -> str:
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(_GROUP)) for _ in range(groups))


def _plain(text: str, groups: int) -> bytes | None:
    if len(text) > 4 * groups * _GROUP:
        return None
    plain = "".join(text.split()).replace("-", "").lower()
    return plain.encode("ascii") if len(plain) == groups * _GROUP and set(plain) <= set(_LETTERS) else None
