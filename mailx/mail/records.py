"""DNS records as they should be published: values, and how a zone file writes them."""

from attrs import frozen

REQUIRED, RECOMMENDED, OPTIONAL, UNWANTED = "required", "recommended", "optional", "unwanted"

THIS_SERVER = "<public address of this server>"
_STRING = 255  # octets of one string in a TXT record (RFC 1035 3.3)


@frozen
class Record:
    """One record as it should be. ``rule`` names the way it is compared."""

    name: str  # without a final dot
    kind: str  # "MX", "TXT", ...
    value: str  # in presentation form; of TXT the text itself; empty: nothing should stand there
    purpose: str
    need: str  # REQUIRED, RECOMMENDED, OPTIONAL or UNWANTED
    rule: str

    @property
    def line(self) -> str:
        """The line of a zone file; of a TXT record with its text in strings of at most 255 octets. Empty if there should be none."""
        if not self.value:
            return ""
        return f"{self.name}. {self.kind} {quoted(self.value) if self.kind == 'TXT' else self.value}"


@frozen
class Page:
    """What a domain should publish: records, and the policy that a web server gives under ``policy_url`` (RFC 8461 3.2)."""

    domain: str
    records: tuple[Record, ...]
    policy_url: str
    policy: str


def quoted(text: str) -> str:
    """``text`` as the strings of a TXT record."""
    escaped = [text[start : start + _STRING].replace("\\", "\\\\").replace('"', '\\"') for start in range(0, len(text), _STRING)]
    return " ".join(f'"{each}"' for each in escaped)
