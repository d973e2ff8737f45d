"""A call as a value, without Twisted."""

from collections.abc import Callable, Sequence

from attrs import define


@define(eq=False)
class Asked:
    """One request. Its body comes after its header; header fields are asked for by name."""

    method: str
    path: str  # without the query
    values: Callable[[str], Sequence[bytes] | None]  # of a header field
    address: str = ""  # the caller's
    body: bytes = b""

    def value(self, name: str) -> bytes | None:
        """The header field ``name`` if it stands there once."""
        found = self.values(name)
        return found[0] if found and len(found) == 1 else None

    def joined(self, name: str) -> str:
        """All header fields ``name``, with commas between; "" when there is none."""
        return b",".join(self.values(name) or ()).decode("latin-1")

    def doubled(self, name: str) -> bool:
        """Whether the header field stands there more than once."""
        return len(self.values(name) or ()) > 1
