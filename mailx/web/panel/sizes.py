"""Sizes and quotas in forms."""

from mailx.mail.sizes import parse
from mailx.web.forms import FormError

_MOST = 1 << 60

DEFAULT, UNLIMITED, OWN = "default", "unlimited", "own"


def size(text: str, field: str) -> int:
    """The octets of ``5GB``, ``500 MiB``, ``1073741824`` (powers of 1024); raises FormError."""
    try:
        octets = parse(text)
    except ValueError:
        octets = 0
    if not 0 < octets <= _MOST:
        raise FormError({field: "Give a size such as 500 MB or 5 GB."})
    return octets


def quota(kind: str, text: str) -> int | None:
    """What the fields ``quota`` and ``size`` say: None for the server's default, 0 for unlimited, or octets; raises FormError."""
    if kind not in (DEFAULT, UNLIMITED, OWN):
        raise FormError({"quota": "Choose one of the list."})
    if kind != OWN and text:
        raise FormError({"quota": "Choose the size below, or leave the size empty."})
    return None if kind == DEFAULT else 0 if kind == UNLIMITED else size(text, "size")


def typed(octets: int | None) -> tuple[str, str]:
    """The fields ``quota`` and ``size`` for a quota that is set."""
    if octets is None:
        return DEFAULT, ""
    if not octets:
        return UNLIMITED, ""
    for unit, factor in (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if octets % factor == 0:
            return OWN, f"{octets // factor} {unit}"
    return OWN, str(octets)
