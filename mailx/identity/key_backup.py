"""The file that domain keys are backed up in: sealed under a passphrase, readable by any server that knows it.

Its form is that of :mod:`mailx.identity.passphrase_file`, always with a passphrase. Failure means :class:`Malformed`.
"""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from mailx.identity import passphrase_file
from mailx.identity.domain_keys import DomainKey
from mailx.identity.encoding import JSON, KEY_SIZE, Malformed, b64, key_from_text, key_text, unb64
from mailx.identity.statements import SeedSigner, domain_name, mapping

FORMAT = "mailx-keys-1"
FILE_LIMIT = 900_000  # octets: a file passes the admin API as a whole; about 500 domains
PASSPHRASE_LEAST = 10  # characters
_DOMAINS_LIMIT = 10000
_HISTORY_LIMIT = 10000


@frozen
class SavedKeys:
    """The keys of one domain."""

    domain: str
    history: tuple[DomainKey, ...]  # oldest first, all of it
    seeds: Mapping[bytes, bytes] = field(repr=False)  # public half -> private half; the current one's at the least
    log_secret: bytes = field(repr=False)


def seal(every: Sequence[SavedKeys], passphrase: str, now: int) -> bytes:
    """The file with ``every`` domain; raises Malformed if the passphrase is too short or the file too long."""
    if len(passphrase) < PASSPHRASE_LEAST:
        raise Malformed(f"a passphrase has at least {PASSPHRASE_LEAST} characters")
    content: dict[str, JSON] = {"domains": [_written(each) for each in every]}
    file = passphrase_file.write({"format": FORMAT, "made": now}, content, passphrase)
    if len(file) > FILE_LIMIT:
        raise Malformed("too many keys for one file: back up some of the domains at a time")
    return file


def open_file(data: bytes, passphrase: str) -> tuple[SavedKeys, ...]:
    """What ``seal`` sealed, every key proved to fit; raises Malformed."""
    file = passphrase_file.head(data, FORMAT, FILE_LIMIT)
    if not passphrase_file.protected(file):
        raise Malformed("this is no backup of keys that this version reads")
    listed = passphrase_file.read(file, passphrase, FILE_LIMIT).get("domains")
    if not isinstance(listed, list) or len(listed) > _DOMAINS_LIMIT:
        raise Malformed("the content is no list of domains")
    return tuple(_read(mapping(each, "a domain")) for each in listed)


def _written(each: SavedKeys) -> dict[str, JSON]:
    return {
        "domain": each.domain,
        "history": [key.statement.encode() for key in each.history],
        "seeds": {key_text(public): b64(seed) for public, seed in each.seeds.items()},
        "log_secret": b64(each.log_secret),
    }


def _read(each: Mapping[str, JSON]) -> SavedKeys:
    domain, listed = domain_name(each), each.get("history")
    if not isinstance(listed, list) or not 1 <= len(listed) <= _HISTORY_LIMIT:
        raise Malformed("a domain without keys")
    history = tuple(DomainKey.decode(statement) for statement in listed)
    if any(key.domain != domain for key in history):
        raise Malformed("a key of another domain")
    if any(later.serial <= earlier.serial for earlier, later in zip(history, history[1:], strict=False)):
        raise Malformed("keys out of order")
    seeds = {key_from_text(name): unb64(seed, KEY_SIZE) for name, seed in mapping(each.get("seeds"), "seeds").items()}
    if any(SeedSigner(seed).public != public for public, seed in seeds.items()) or history[-1].key not in seeds:
        raise Malformed("a private key that does not fit, or none")
    return SavedKeys(domain, history, seeds, unb64(each.get("log_secret"), KEY_SIZE))
