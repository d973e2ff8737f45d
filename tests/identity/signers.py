"""Keys for tests, the same in every run."""

from hashlib import sha256

from mailx.identity.statements import SeedSigner


def signer(name: str) -> SeedSigner:
    """The key called ``name``."""
    return SeedSigner(sha256(name.encode()).digest())
