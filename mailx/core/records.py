"""The DNS page of a domain: every record that it needs, and what the world sees of it.

What is needed follows from the configuration, the keys and the certificate; :mod:`mailx.core.published` looks at DNS.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred

from mailx.core.published import Finding, Published
from mailx.core.resolver import Resolver
from mailx.core.settings import Settings
from mailx.core.signing import RETIRED, Key, Signing
from mailx.core.users import domain_name
from mailx.mail.records import OPTIONAL, RECOMMENDED, REQUIRED, THIS_SERVER, UNWANTED, Page, Record

_POLICY_SECONDS = 604800
_MAIL_PORT = 25


class Records:
    """What the domains of this server should publish.

    ``certificate`` gives the certificate (DER) that port 25 shows for a host name, None if that cannot be known here.
    ``federation`` gives the text of the record that leads other MailX servers here, empty where there should be none; it raises
    KeyError for a domain without a key.
    """

    def __init__(
        self,
        settings: Settings,
        signing: Signing,
        resolver: Resolver,
        certificate: Callable[[str], bytes | None],
        federation: Callable[[str], str] | None = None,
    ) -> None:
        self._in_force = settings
        self._signing = signing
        self._certificate = certificate
        self._text = federation
        self._host = settings.current.server.hostname
        self._published = Published(resolver, self._host)

    async def expected(self, domain: str) -> Page:
        """The page of the local ``domain``; raises DirectoryError."""
        domain = domain_name(domain)
        keys = await self._signing.keys(domain)
        policy = f"version: STSv1\nmode: testing\nmx: {self._host}\nmax_age: {_POLICY_SECONDS}\n"
        records = (
            *self._arrival(domain),
            *self._senders(domain),
            *self._keys(domain, keys),
            *self._reports(domain, policy),
            *self._tlsa(),
            *self._services(domain),
            *self._federation(domain),
            *self._settings(domain),
        )
        return Page(domain, records, f"https://mta-sts.{domain}/.well-known/mta-sts.txt", policy)

    async def check(self, domain: str, until: "Deferred[None] | None" = None) -> list[Finding]:
        """What the world sees of each record of the page, and of the reverse names of this server's addresses; until that fires."""
        return await self._published.check(await self.expected(domain), until)

    async def lacks(self, keys: Sequence[Key]) -> list[Key]:
        """Those of ``keys`` whose records the world does not see as they should be; raises DNSFailure."""
        return await self._published.lacks(keys)

    def _arrival(self, domain: str) -> Iterator[Record]:
        yield Record(domain, "MX", f"10 {self._host}.", "Mail for the domain comes to this server.", REQUIRED, "mx")
        own = _public(self._in_force.current.server.interface)
        kind = "AAAA" if ":" in own else "A"
        yield Record(self._host, kind, own or THIS_SERVER, "The address of this server.", REQUIRED, "address")

    def _senders(self, domain: str) -> Iterator[Record]:
        config = self._in_force.current
        relays = [config.smarthost.host] if config.smarthost.host else []
        relays += [relay.name for relay in config.outbound.relays]
        purpose = "Who may send mail in the name of the domain (SPF)."
        if relays:
            purpose += f" Mail leaves through {', '.join(relays)}: add what its operator asks for, often include:NAME, before -all."
        own = _public(config.outbound.interface)
        ways = f"mx ip{'6' if ':' in own else '4'}:{own}" if own else "mx"
        yield Record(domain, "TXT", f"v=spf1 {ways} -all", purpose, REQUIRED, "spf")
        if self._host != domain:
            yield Record(self._host, "TXT", "v=spf1 a -all", "The same for bounces, which have no sender.", RECOMMENDED, "spf")

    def _keys(self, domain: str, keys: list[Key]) -> Iterator[Record]:
        if not keys:
            purpose = f"Signatures (DKIM). There is no key yet: make some, in the panel or with mailxctl dkim create {domain}."
            yield Record(f"SELECTOR._domainkey.{domain}", "TXT", "", purpose, REQUIRED, "no_key")
        for key in keys:
            purpose = f"Key of the signatures (DKIM, {key.algorithm}, {key.state})."
            if key.state == RETIRED:
                purpose += " It signs no more: leave it published until the key can be deleted."
            yield Record(key.name, "TXT", key.record, purpose, RECOMMENDED if key.state == RETIRED else REQUIRED, "dkim")

    def _reports(self, domain: str, policy: str) -> Iterator[Record]:
        purpose = "What others do with mail that fails SPF and DKIM (DMARC). Begin with p=none and read the reports."
        yield Record(f"_dmarc.{domain}", "TXT", f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}", purpose, REQUIRED, "dmarc")
        id = sha256(policy.encode()).hexdigest()[:16]
        purpose = "Others send to this server only encrypted (MTA-STS). It needs the policy below on a web server."
        yield Record(f"_mta-sts.{domain}", "TXT", f"v=STSv1; id={id}", purpose, OPTIONAL, "mta_sts")
        yield Record(f"mta-sts.{domain}", "CNAME", f"{self._host}.", "The web server with the policy of MTA-STS.", OPTIONAL, "host")
        purpose = "Others report when encryption fails (TLS-RPT)."
        yield Record(f"_smtp._tls.{domain}", "TXT", f"v=TLSRPTv1; rua=mailto:postmaster@{domain}", purpose, OPTIONAL, "tls_rpt")

    def _tlsa(self) -> Iterator[Record]:
        certificate = self._certificate(self._host)
        if certificate is not None:
            purpose = (
                "The key of this server's certificate (DANE). Only in a zone signed with DNSSEC; publish the next before the key changes."
            )
            yield Record(f"_{_MAIL_PORT}._tcp.{self._host}", "TLSA", f"3 1 1 {key_digest(certificate)}", purpose, OPTIONAL, "tlsa")

    def _services(self, domain: str) -> Iterator[Record]:
        current = self._in_force.current
        smtp, imap, pop3 = current.smtp, current.imap, current.pop3
        for service, port in (
            ("submission", smtp.submission_port),
            ("submissions", smtp.submissions_port),
            ("imap", imap.port),
            ("imaps", imap.tls_port),
            ("pop3", pop3.port),
            ("pop3s", pop3.tls_port),
        ):
            name = f"_{service}._tcp.{domain}"
            if port:
                yield Record(
                    name, "SRV", f"0 1 {port} {self._host}.", "Mail programs find the server (RFC 6186, RFC 8314).", OPTIONAL, "srv"
                )
            else:
                yield Record(name, "SRV", "", "This server does not offer it.", UNWANTED, "srv")

    def _settings(self, domain: str) -> Iterator[Record]:
        for name, programs in (("autoconfig", "Thunderbird and others"), ("autodiscover", "Outlook")):
            purpose = f"A web server that tells {programs} the settings, if there is one."
            yield Record(f"{name}.{domain}", "CNAME", f"{self._host}.", purpose, OPTIONAL, "host")

    def _federation(self, domain: str) -> Iterator[Record]:
        try:
            text = self._text(domain) if self._text is not None else ""
        except KeyError:
            text = ""
        if not text:
            purpose = "Federation between MailX servers, which this server does not offer."
            yield Record(f"_mailx.{domain}", "TXT", "", purpose, UNWANTED, "unwanted")
            return
        purpose = "Other MailX servers find this one, and the key of the domain: mail from them comes sealed and proved."
        yield Record(f"_mailx.{domain}", "TXT", text, purpose, RECOMMENDED, "mailx")


def key_digest(certificate: bytes) -> str:
    """What a TLSA record 3 1 1 says of a certificate (DER): SHA-256 of its key (RFC 6698 2.1)."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _public(interface: str) -> str:
    """``interface`` if it is one address of the public Internet, else empty."""
    try:
        address = ip_address(interface)
    except ValueError:
        return ""
    return str(address) if address.is_global else ""
