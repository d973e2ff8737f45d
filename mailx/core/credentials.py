"""What accounts log in with, as it is kept: verifiers of passwords, sealed, and those of nobody, which look the same."""

import secrets

from mailx.core.passwords import PasswordError, Passwords, Verifiers
from mailx.core.users import DirectoryError
from mailx.store.account_keys import Login
from mailx.store.cipher import Cipher

_PURPOSE = b"credentials"
_FAKE_SALT = b"scram salt"


class Credentials:
    """Makes, seals and opens verifiers."""

    def __init__(self, cipher: Cipher, passwords: Passwords) -> None:
        self._cipher = cipher
        self._passwords = passwords
        self._decoy_guid = secrets.token_bytes(16)
        self._decoy_sealed = cipher.seal(_PURPOSE, self._decoy_guid, passwords.decoy().encode())

    async def fresh(self, password: str, proofs: bool = True) -> Login:
        """Verifiers of a new password; without ``proofs`` only those of the password itself. Raises DirectoryError, Busy."""
        try:
            verifiers = await self._passwords.make(password, proofs)
        except PasswordError as error:
            raise DirectoryError("invalid", str(error), "Choose another password.") from None
        guid = secrets.token_bytes(16)
        return Login(self._cipher.seal(_PURPOSE, guid, verifiers.encode()), guid)

    def opened(self, guid: bytes, sealed: bytes) -> Verifiers:
        """Stored verifiers."""
        return Verifiers.decode(self._cipher.open(_PURPOSE, guid, sealed))

    def nobody(self, name: str) -> Verifiers:
        """Verifiers that nothing fits, opened by the same steps; the salt stays the same for that name."""
        salt = self._cipher.hash(_FAKE_SALT, b"", name.encode("utf-8", "surrogatepass"))
        return self.opened(self._decoy_guid, self._decoy_sealed).with_salt(salt)

    async def fits(self, verifiers: Verifiers, password: str) -> bool:
        """Whether this is the password; raises Busy."""
        return await self._passwords.verify(verifiers.bcrypt, password)
