"""Certificates of channels: what the domain key issues is believed, and nothing else is."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.federation import certificates
from mailx.federation.certificates import RENEW, VALID, Certificates, Issued, Untrusted, claim, issue, verify
from tests.identity.signers import signer

DOMAIN = "example.org"
NOW = 1_800_000_000.0
KEY, OTHER = signer("domain"), signer("other")
GOOD = issue(DOMAIN, KEY, NOW)
HOUR = 3600


class Forger:
    """Makes chains as ``issue`` does, with parts replaced."""

    def __init__(self, **changes: Any) -> None:
        self.authority: Any = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self.public = self.authority.public_key().public_bytes_raw()
        self.leaf: Any = Ed25519PrivateKey.generate()
        self.names: list[x509.GeneralName] = [x509.DNSName(DOMAIN)]
        self.permitted: list[x509.GeneralName] | None = [x509.DNSName(DOMAIN)]
        self.excluded: list[x509.GeneralName] | None = None
        self.begin, self.end = NOW - HOUR, NOW + HOUR
        self.ca, self.leaf_ca = True, False
        self.cert_sign = True
        self.purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        self.extra: list[tuple[x509.ExtensionType, bool]] = []
        self.issuer = "authority"
        self.hash: Any = None
        for name, value in changes.items():
            setattr(self, name, value)

    def builder(self, subject: str, issuer: str, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.fromtimestamp(self.begin, UTC))
            .not_valid_after(datetime.fromtimestamp(self.end, UTC))
        )

    def usage(self, cert_sign: bool) -> x509.KeyUsage:
        return x509.KeyUsage(not cert_sign, False, False, False, False, cert_sign, False, False, False)

    def chain(self) -> tuple[bytes, bytes]:
        authority = self.builder("authority", "authority", self.authority.public_key()).add_extension(
            x509.BasicConstraints(self.ca, None), critical=True
        )
        authority = authority.add_extension(self.usage(self.cert_sign), critical=True)
        if self.permitted is not None:
            authority = authority.add_extension(x509.NameConstraints(self.permitted, self.excluded), critical=True)
        leaf = self.builder("leaf", self.issuer, self.leaf.public_key()).add_extension(x509.BasicConstraints(self.leaf_ca, None), True)
        leaf = leaf.add_extension(self.usage(self.leaf_ca), critical=True)
        if self.names:
            leaf = leaf.add_extension(x509.SubjectAlternativeName(self.names), critical=False)
        if self.purposes:
            leaf = leaf.add_extension(x509.ExtendedKeyUsage(self.purposes), critical=False)
        for extension, critical in self.extra:
            leaf = leaf.add_extension(extension, critical)
        made = leaf.sign(self.authority, self.hash), authority.sign(self.authority, self.hash)
        return made[0].public_bytes(Encoding.DER), made[1].public_bytes(Encoding.DER)


class Issuing(SynchronousTestCase):
    def test_what_is_issued_is_believed_by_both_sides(self) -> None:
        self.assertEqual(claim(GOOD.chain), certificates.Claim(DOMAIN, KEY.public))
        for server in (True, False):
            self.assertEqual(verify(GOOD.chain, DOMAIN, [OTHER.public, KEY.public], NOW, server), KEY.public)
        self.assertNotIn(GOOD.private.hex(), repr(GOOD))
        leaf = x509.load_der_x509_certificate(GOOD.chain[0])
        self.assertEqual(load_der_private_key(GOOD.private, None).public_key(), leaf.public_key())

    def test_names_of_any_length(self) -> None:
        for domain in ("a", "xn--bcher-kva.example", ".".join(["a" * 60] * 4)):
            self.assertEqual(verify(issue(domain, KEY, NOW).chain, domain, [KEY.public], NOW, True), KEY.public)

    def test_another_program_finds_the_chain_good_for_its_domain_only(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        real = datetime.now(UTC).timestamp()
        issued = issue(DOMAIN, KEY, real)
        for name, der in zip(("leaf", "authority"), issued.chain, strict=True):
            (directory / name).write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        forged = Forger(names=[x509.DNSName("example.com")], begin=real - HOUR, end=real + HOUR).chain()
        for name, der in zip(("forged", "forger"), forged, strict=True):
            (directory / name).write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        for host, authority, leaf, good in (
            (DOMAIN, "authority", "leaf", True),
            ("other.example", "authority", "leaf", False),
            ("example.com", "forger", "forged", False),  # the name constraint
        ):
            done = subprocess.run(
                ["openssl", "verify", *(["-x509_strict"] if good else []), "-verify_hostname", host, "-CAfile", authority, leaf],
                cwd=directory,
                capture_output=True,
                timeout=120,
            )
            self.assertEqual(done.returncode == 0, good, done.stderr)


class Believing(SynchronousTestCase):
    def refused(
        self, chain: Sequence[bytes], reason: str, keys: Sequence[bytes] = (KEY.public,), now: float = NOW, server: bool = True
    ) -> None:
        with self.assertRaises(Untrusted) as caught:
            verify(chain, DOMAIN, keys, now, server)
        self.assertIn(reason, caught.exception.reason)

    def forged(self, reason: str, server: bool = True, **changes: Any) -> None:
        forger = Forger(**changes)
        self.refused(forger.chain(), reason, [forger.public], server=server)

    def test_the_forger_is_believed_as_long_as_nothing_is_changed(self) -> None:
        forger = Forger()
        self.assertEqual(verify(forger.chain(), DOMAIN, [forger.public], NOW, True), forger.public)
        forger = Forger(leaf=generate_ec(SECP256R1()))
        self.assertEqual(verify(forger.chain(), DOMAIN, [forger.public], NOW, False), forger.public)

    def test_another_key_another_domain_other_times(self) -> None:
        self.refused(GOOD.chain, "not the domain's", [OTHER.public])
        self.refused(GOOD.chain, "not the domain's", [])
        self.refused(issue("example.com", KEY, NOW).chain, "another domain")
        self.refused(issue("sub.example.org", KEY, NOW).chain, "another domain")
        self.refused(GOOD.chain, "expired", now=NOW + VALID.total_seconds())
        self.refused(GOOD.chain, "not valid yet", now=NOW - 2 * HOUR)
        self.forged("longer than", end=NOW + 30 * 86400)

    def test_chains_that_are_put_together(self) -> None:
        leaf, authority = GOOD.chain
        other = issue(DOMAIN, OTHER, NOW).chain
        self.refused((), "no certificate")
        self.refused((leaf,), "no domain key signed")
        self.refused((leaf, authority, authority), "no domain key signed")
        self.refused((authority, leaf), "")
        self.refused((authority, authority), "")
        self.refused((other[0], authority), "signature")  # a thief's leaf under our authority
        self.refused((leaf, other[1]), "not the domain's")

    def test_damaged_signatures(self) -> None:
        for place in (0, 1):
            chain = [bytearray(each) for each in GOOD.chain]
            chain[place][-1] ^= 1
            self.refused([bytes(each) for each in chain], "signature")

    def test_certificates_that_are_for_something_else(self) -> None:
        self.forged("as an authority", ca=False)
        self.forged("as an authority", cert_sign=False)
        self.forged("constrained", permitted=None)
        self.forged("constrained", permitted=[x509.DNSName("org")])
        self.forged("constrained", permitted=[x509.DNSName(DOMAIN), x509.DNSName("example.com")])
        self.forged("constrained", excluded=[x509.DNSName(DOMAIN)])
        self.forged("that of a server", leaf_ca=True)
        self.forged("belong together", issuer="somebody else")
        self.forged("this side", purposes=[ExtendedKeyUsageOID.CLIENT_AUTH])
        self.forged("this side", purposes=[ExtendedKeyUsageOID.SERVER_AUTH], server=False)
        self.forged("this side", purposes=[])

    def test_names_that_are_more_or_less_than_one_domain(self) -> None:
        for names in (
            [],
            [x509.DNSName(DOMAIN), x509.DNSName("example.com")],
            [x509.DNSName("*.example.org")],
            [x509.DNSName("EXAMPLE.org")],
            [x509.DNSName("example.org.")],
            [x509.DNSName("example.org\n")],
            [x509.DNSName("")],
            [x509.RFC822Name("me@example.org")],
        ):
            self.forged("exactly one domain", names=names)

    def test_keys_and_signatures_of_other_kinds(self) -> None:
        self.refused(Forger(authority=generate_ec(SECP256R1()), hash=SHA256(), public=b"").chain(), "Ed25519")
        self.forged("of another kind", leaf=generate_ec(SECP384R1()))

    def test_critical_extensions_that_are_not_known(self) -> None:
        unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")
        self.forged("critical", extra=[(unknown, True)])
        forger = Forger(extra=[(unknown, False)])
        self.assertEqual(verify(forger.chain(), DOMAIN, [forger.public], NOW, True), forger.public)

    def test_large_ones(self) -> None:
        big = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(5000))
        self.forged("too large", extra=[(big, False)])

    @given(st.lists(st.binary(max_size=80), max_size=3))
    def test_any_octets_are_untrusted(self, chain: list[bytes]) -> None:
        for call in (claim, lambda chain: verify(chain, DOMAIN, [KEY.public], NOW, True)):
            with self.assertRaises(Untrusted):
                call(chain)

    @given(st.integers(0, 1), st.integers(0, 300), st.integers(1, 255))
    def test_any_changed_octet_is_untrusted(self, place: int, at: int, flip: int) -> None:
        chain = [bytearray(each) for each in GOOD.chain]
        chain[place][at % len(chain[place])] ^= flip
        with self.assertRaises(Untrusted):
            verify([bytes(each) for each in chain], DOMAIN, [KEY.public], NOW, True)


class Renewing(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOW
        self.keys = {DOMAIN: KEY}
        self.certificates = Certificates(self.keys.__getitem__, lambda: self.now)

    def shown(self) -> Issued:
        issued = self.certificates.of(DOMAIN)
        verify(issued.chain, DOMAIN, [self.keys[DOMAIN].public], self.now, True)
        return issued

    def test_one_is_shown_until_it_is_time_for_the_next(self) -> None:
        first = self.shown()
        self.now += (VALID - RENEW).total_seconds() - 1
        self.assertIs(self.shown(), first)
        self.now += 1
        self.assertIsNot(self.shown(), first)
        self.assertGreater(timedelta(seconds=first.expires - self.now), timedelta(hours=12))

    def test_a_clock_that_was_set_back_gets_a_new_one(self) -> None:
        first = self.shown()
        self.now -= 5 * HOUR
        self.assertIsNot(self.shown(), first)

    def test_a_new_domain_key_shows_at_once(self) -> None:
        first = self.shown()
        self.keys[DOMAIN] = OTHER
        self.assertEqual(self.shown().key, OTHER.public)
        self.assertNotEqual(self.shown().chain, first.chain)

    def test_a_domain_that_is_gone_has_none(self) -> None:
        self.shown()
        del self.keys[DOMAIN]
        with self.assertRaises(KeyError):
            self.certificates.of(DOMAIN)
