"""Where requests come from.

Behind a reverse proxy that the settings name, X-Forwarded-For tells the address: the last one in it that is not such a
proxy's. From anybody else the field says nothing.
"""

from mailx.mail.networks import parsed, plain, within

_HOPS = 20  # entries of X-Forwarded-For that are looked at, from the end


def caller(peer: str, forwarded: str, proxies: tuple[str, ...]) -> str:
    """The address that a request comes from. ``forwarded``: the values of X-Forwarded-For with commas between."""
    address = plain(peer)
    if not forwarded or not within(address, proxies):
        return address
    for entry in forwarded.split(",")[: -_HOPS - 1 : -1]:
        found = parsed(_bare(entry.strip()))
        if found is None:
            break
        address = str(found)
        if not within(address, proxies):
            break
    return address


def _bare(text: str) -> str:
    """An entry without the port that some proxies add."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
