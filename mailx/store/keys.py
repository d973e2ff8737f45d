"""The key hierarchy: a server secret in a file wraps the random data keys in the database.

The secret file is made once, readable by its owner only, and lies outside the data directory, so that a stolen
database or backup opens nothing. Failure means :class:`KeysError`, whose text tells the operator what to do: the
file is missing although the database has keys, is malformed, or is not the secret of this database.
"""

import os
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha_decrypt
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_encrypt as xchacha_encrypt
from nacl.exceptions import CryptoError
from twisted.logger import Logger

from mailx.store import Row, Store, Txn
from mailx.store.cipher import KEY_SIZE, SALT_SIZE, Keys, subkey

log = Logger()

_PREFIX = "mailx-secret-1:"  # of the one line in the secret file


class KeysError(Exception):
    """The keys cannot be opened; the text is for the operator."""


def load_secret(path: str) -> bytes | None:
    """The 32-octet secret in the file at ``path``, None if there is no file; raises KeysError."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(1024).strip()
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KeysError(f"the secret file {path} cannot be read: {error}") from None
    if mode & 0o077:
        log.warn("The secret file can be read by others than its owner", event="keys.secret_exposed", path=path, mode=oct(mode & 0o777))
    try:
        secret = b64decode(text.removeprefix(_PREFIX), validate=True)
    except Base64Error:
        secret = b""
    if not text.startswith(_PREFIX) or len(secret) != KEY_SIZE:
        raise KeysError(f"the secret file {path} is damaged: it must hold one line that begins with {_PREFIX}")
    return secret


def create_secret(path: str) -> bytes:
    """Make the secret file (0600, durable); raises KeysError if it cannot be made or is already there."""
    secret = os.urandom(KEY_SIZE)
    directory = os.path.dirname(os.path.abspath(path))
    unfinished = f"{path}.{os.getpid()}.tmp"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(f"{_PREFIX}{b64encode(secret).decode('ascii')}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, path)  # whole from the first moment, and never over another
        finally:
            os.unlink(unfinished)
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    except OSError as error:
        raise KeysError(f"the secret file {path} cannot be made: {error}") from None
    log.info("Server secret made", event="keys.secret_made", path=path)
    return secret


def wrap(secret: bytes, number: int, kind: str, key: bytes) -> bytes:
    """``key`` sealed under the server secret: nonce and XChaCha20-Poly1305 ciphertext, bound to its number and kind."""
    nonce = os.urandom(SALT_SIZE)
    return nonce + xchacha_encrypt(key, f"{kind}:{number}".encode("ascii"), nonce, subkey(secret, b"wrap", b"keys"))


def unwrap(secret: bytes, number: int, kind: str, wrapped: bytes) -> bytes:
    """The key that ``wrap`` sealed; raises KeysError."""
    context = f"{kind}:{number}".encode("ascii")
    try:
        return xchacha_decrypt(wrapped[SALT_SIZE:], context, wrapped[:SALT_SIZE], subkey(secret, b"wrap", b"keys"))
    except (CryptoError, ValueError, TypeError):
        raise KeysError("the server secret does not open the keys in the database") from None


async def load_or_create(secret_file: str, store: Store) -> Keys:
    """Open the keys of ``store`` with the secret in ``secret_file``; both are made in a database without keys.

    Raises KeysError, or Unavailable when the database does not answer.
    """
    rows = await store.read(_rows)
    secret = load_secret(secret_file)
    if not rows:
        if secret is None:
            secret = create_secret(secret_file)
        rows = await store.write(_create, secret, int(time.time()))
    if secret is None:
        raise KeysError(
            f"the secret file {secret_file} is missing, but the database is sealed with it: put it back from its backup "
            "(without it the stored mail cannot be opened)"
        )
    return _opened(secret_file, secret, rows)


def _opened(secret_file: str, secret: bytes, rows: list[Row]) -> Keys:
    data: dict[int, bytes] = {}
    lookup = b""
    for number, kind, wrapped in rows:
        try:
            key = unwrap(secret, number, kind, wrapped)
        except KeysError as error:
            raise KeysError(
                f"{error}: {secret_file} is the secret of another database, or the database was damaged; put the right secret file back"
            ) from None
        if kind == "data":
            data[number] = key
        else:
            lookup = key
    if not data or not lookup:
        raise KeysError("the keys in the database are incomplete: restore the database from a backup")
    return Keys(data, max(data), lookup)


def _rows(txn: Txn) -> list[Row]:
    return [(number, kind, bytes(wrapped)) for number, kind, wrapped in txn.all("SELECT id, kind, wrapped FROM keys ORDER BY id")]


def _create(txn: Txn, secret: bytes, now: int) -> list[Row]:
    for number, kind in ((1, "data"), (2, "lookup")):  # another node may be first: its keys count
        txn.execute(
            "INSERT INTO keys (id, kind, wrapped, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (number, kind, wrap(secret, number, kind, os.urandom(KEY_SIZE)), now),
        )
    return _rows(txn)
