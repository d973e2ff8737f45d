"""The servers that the configuration names, with the key of each. What is wrong there is logged and left out."""

from collections.abc import Mapping

from twisted.logger import Logger

from mailx.config import endpoint
from mailx.config_federation import Federation
from mailx.core.peer import STATIC, Known
from mailx.core.users import DirectoryError, domain_name
from mailx.identity.encoding import Malformed, key_from_text

log = Logger()

PORT = 2590  # where a server listens that names no port


def read_static(federation: Federation) -> Mapping[str, Known]:
    """What is fixed of each domain."""
    found = {}
    for each in federation.peers:
        try:
            domain, key = domain_name(each.domain), key_from_text(each.key)
        except (DirectoryError, Malformed) as error:
            log.error("A static peer cannot be used", event="peer.static", domain=each.domain, reason=str(error))
            continue
        servers = tuple(endpoint(host, PORT) for host in each.hosts)
        found[domain] = Known(domain, True, STATIC, key, servers=servers)
    return found
