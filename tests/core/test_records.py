"""The DNS page: what a domain should publish, and what comes of comparing it with what the world sees."""

from pathlib import Path
from typing import Any, ClassVar

import dns.rdata
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.published import DIFFERENT, MISSING, OK, UNKNOWN, UNNECESSARY, Finding, reverse_name
from mailx.core.records import Records, key_digest
from mailx.core.resolver import DNSFailure
from mailx.core.settings import Settings
from mailx.core.signing import Signing
from mailx.core.users import DirectoryError
from mailx.identity.documents import record_text
from mailx.mail.records import OPTIONAL, RECOMMENDED, REQUIRED, UNWANTED, Record, quoted
from mailx.ops.self_signed import self_signed
from tests import dns as names
from tests.scenery import DOMAIN, configured, world

HOST = "mx.example.test"
ADDRESS = "192.0.2.7"


class Base(TestCase):
    zone: dict[tuple[str, str], Any]
    signing: Signing
    texts: ClassVar[dict[str, str]] = {}  # the records of federation, by domain

    def federation(self, domain: str) -> str:
        return self.texts[domain]

    async def open(self, zone: dict[tuple[str, str], Any] | None = None, secure: Any = (), **sections: Any) -> Records:
        authority = await names.serve(self, {(HOST, "A"): [ADDRESS]} if zone is None else zone, secure)
        self.zone = authority.zone
        here = await world(self)
        config = configured(**{"server": {"hostname": HOST}, **sections})
        self.signing = Signing(here.store, here.cipher, here.accounts, here.reactor)
        await self.signing.load()
        pem, _ = self_signed(Path(self.mktemp()), HOST)
        self.certificate = load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER)
        return Records(
            Settings(config),
            self.signing,
            names.ask(self, authority, validating=bool(secure)),
            lambda name: self.certificate if name == HOST else None,
            self.federation,
        )

    async def record(self, records: Records, name: str, kind: str) -> Record:
        (found,) = [each for each in (await records.expected(DOMAIN)).records if (each.name, each.kind) == (name, kind)]
        return found

    async def finding(self, zone: dict[tuple[str, str], Any], name: str, kind: str, secure: Any = ()) -> Finding:
        """What comes of one record when the world sees ``zone``."""
        records = await self.open({(HOST, "A"): [ADDRESS], **zone}, secure)
        (found,) = [each for each in await records.check(DOMAIN) if (each.record.name, each.record.kind) == (name, kind)]
        return found


class Page(Base):
    async def test_every_record(self) -> None:
        records = await self.open()
        page = await records.expected("Example.TEST.")
        found = {(each.name, each.kind): each for each in page.records}
        for name, kind, value in (
            (DOMAIN, "MX", f"10 {HOST}."),
            (DOMAIN, "TXT", "v=spf1 mx -all"),
            (HOST, "TXT", "v=spf1 a -all"),
            (f"_dmarc.{DOMAIN}", "TXT", f"v=DMARC1; p=none; rua=mailto:postmaster@{DOMAIN}"),
            (f"_smtp._tls.{DOMAIN}", "TXT", f"v=TLSRPTv1; rua=mailto:postmaster@{DOMAIN}"),
            (f"_25._tcp.{HOST}", "TLSA", f"3 1 1 {key_digest(self.certificate)}"),
            (f"_submission._tcp.{DOMAIN}", "SRV", f"0 1 2587 {HOST}."),
            (f"_submissions._tcp.{DOMAIN}", "SRV", f"0 1 2465 {HOST}."),
            (f"_imap._tcp.{DOMAIN}", "SRV", f"0 1 2143 {HOST}."),
            (f"_imaps._tcp.{DOMAIN}", "SRV", f"0 1 2993 {HOST}."),
            (f"_pop3._tcp.{DOMAIN}", "SRV", f"0 1 2110 {HOST}."),
            (f"_pop3s._tcp.{DOMAIN}", "SRV", f"0 1 2995 {HOST}."),
            (f"autoconfig.{DOMAIN}", "CNAME", f"{HOST}."),
            (f"autodiscover.{DOMAIN}", "CNAME", f"{HOST}."),
        ):
            self.assertEqual(found[name, kind].value, value)
        (record,) = [each for each in page.records if each.name == f"_mailx.{DOMAIN}"]
        self.assertEqual((record.need, record.value, record.line), (UNWANTED, "", ""))
        self.assertRegex(found[f"_mta-sts.{DOMAIN}", "TXT"].value, r"\Av=STSv1; id=[0-9a-f]{16}\Z")
        self.assertEqual(page.policy_url, f"https://mta-sts.{DOMAIN}/.well-known/mta-sts.txt")
        self.assertEqual(page.policy, f"version: STSv1\nmode: testing\nmx: {HOST}\nmax_age: 604800\n")
        self.assertEqual({each.need for each in page.records}, {REQUIRED, RECOMMENDED, OPTIONAL, UNWANTED})

    async def test_keys(self) -> None:
        records = await self.open()
        self.assertIn("mailxctl dkim create", (await self.record(records, f"SELECTOR._domainkey.{DOMAIN}", "TXT")).purpose)
        (key,) = await self.signing.create(DOMAIN, ["rsa-sha256"])
        record = await self.record(records, key.name, "TXT")
        self.assertEqual((record.value, record.need), (key.record, REQUIRED))
        self.assertRegex(record.line, r'\Am[0-9]+r\._domainkey\.example\.test\. TXT "v=DKIM1; k=rsa; p=[^"]+" "[^"]+"\Z')
        await self.signing.activate(DOMAIN)
        await self.signing.retire(DOMAIN, key.selector)
        self.assertEqual((await self.record(records, key.name, "TXT")).need, RECOMMENDED, "it stays published")

    async def test_lines_are_what_a_zone_file_takes(self) -> None:
        records = await self.open()
        await self.signing.create(DOMAIN)
        for record in (await records.expected(DOMAIN)).records:
            if record.line and "<" not in record.line:
                _, kind, text = record.line.split(" ", 2)
                data = dns.rdata.from_text("IN", kind, text)
                if kind == "TXT":
                    self.assertEqual(b"".join(data.strings).decode(), record.value)  # type: ignore[attr-defined]

    async def test_configured_otherwise(self) -> None:
        from mailx.config import Relay

        records = await self.open(
            server={"hostname": DOMAIN, "interface": "2001:4860::7"},
            outbound={"interface": "8.8.8.8", "relays": (Relay(name="corporate"),)},
            imap={"port": 0},
        )
        page = await records.expected(DOMAIN)
        found = {(each.name, each.kind): each for each in page.records}
        self.assertEqual(found[DOMAIN, "AAAA"].value, "2001:4860::7")
        self.assertEqual(found[DOMAIN, "TXT"].value, "v=spf1 mx ip4:8.8.8.8 -all")
        self.assertIn("corporate", found[DOMAIN, "TXT"].purpose)
        self.assertEqual(found[f"_imap._tcp.{DOMAIN}", "SRV"].need, UNWANTED)
        self.assertFalse([each for each in page.records if each.kind == "TLSA"], "the certificate is not known")

    async def test_the_smart_host_of_the_panel_is_named_for_spf(self) -> None:
        await self.open()
        here = await world(self)
        records = Records(here.settings, self.signing, names.ask(self, await names.serve(self, {}, ())), lambda name: None)
        self.assertNotIn("through", (await self.record(records, DOMAIN, "TXT")).purpose)
        await here.settings.change({"smarthost.host": "smtp.example.net"})
        self.assertIn("leaves through smtp.example.net", (await self.record(records, DOMAIN, "TXT")).purpose)

    async def test_no_such_domain(self) -> None:
        records = await self.open()
        for domain in ("example.net", "no domain"):
            with self.assertRaises(DirectoryError):
                await records.expected(domain)


class Checked(Base):
    async def verdicts(self, name: str, kind: str, *cases: tuple[Any, str]) -> None:
        for records, verdict in cases:
            zone = {} if records is None else {(name, kind): records}
            self.assertEqual((await self.finding(zone, name, kind)).verdict, verdict, records)

    async def test_nothing_there(self) -> None:
        records = await self.open({})
        for finding in await records.check(DOMAIN):
            self.assertEqual(finding.verdict, OK if finding.record.need == UNWANTED else MISSING, finding.record.name)

    async def test_no_answers(self) -> None:
        records = await self.open({})
        for record in (await records.expected(DOMAIN)).records:
            self.zone |= {(record.name, kind): names.SERVFAIL for kind in ("A", "AAAA", "MX", "TXT", "SRV", "TLSA")}
        self.zone |= {(f"_dmarc.{DOMAIN.partition('.')[2]}", "TXT"): names.SERVFAIL}
        for finding in await records.check(DOMAIN):
            if finding.record.rule != "no_key":
                self.assertEqual((finding.verdict, finding.remark), (UNKNOWN, "DNS gives no answer."), finding.record.name)

    async def test_all_there(self) -> None:
        records = await self.open()
        await self.signing.create(DOMAIN)
        for record in (await records.expected(DOMAIN)).records:
            if record.value and record.rule != "address":
                self.zone[record.name, record.kind] = [record.value]
        self.zone[reverse_name(ADDRESS), "PTR"] = [f"{HOST}."]
        for finding in await records.check(DOMAIN):
            self.assertEqual(finding.verdict, OK, finding)

    async def test_arrival(self) -> None:
        await self.verdicts(
            DOMAIN,
            "MX",
            ([f"5 {HOST.upper()}."], OK),
            (["5 other.example.", f"9 {HOST}."], OK),
            (["5 other.example."], DIFFERENT),
            (["0 ."], DIFFERENT),
        )
        found = await self.finding({(DOMAIN, "MX"): ["5 other.example.", f"9 {HOST}."]}, DOMAIN, "MX")
        self.assertEqual((found.seen, found.remark), (("5 other.example.", f"9 {HOST}."), "Another server is preferred."))
        await self.verdicts(reverse_name(ADDRESS), "PTR", (None, MISSING), ([f"{HOST}."], OK), (["else.example."], DIFFERENT))

    async def test_spf(self) -> None:
        await self.verdicts(
            DOMAIN,
            "TXT",
            ([f"v=spf1 ip4:{ADDRESS} -all"], OK),
            (["other text"], MISSING),
            (["v=spf1 -all"], DIFFERENT),
            (["v=spf1 a:mx.example.test ~all"], OK),
            (["v=spf1 mx -all"], DIFFERENT),
            (["v=spf1 mx -all", f"v=spf1 ip4:{ADDRESS} -all"], DIFFERENT),
            (["v=spf1 exists:%{i}.example.net -all"], UNKNOWN),
            (["v=spf1 include:nowhere.example -all"], DIFFERENT),
        )
        found = await self.finding({(DOMAIN, "TXT"): ["v=spf1 -all"]}, DOMAIN, "TXT")
        self.assertEqual((found.seen, found.remark), (('"v=spf1 -all"',), "Mail from this server gets fail."))
        found = await self.finding({(DOMAIN, "TXT"): ["v=spf1 +all"]}, DOMAIN, "TXT")
        self.assertEqual((found.verdict, found.remark), (OK, "It lets everybody send in the name of the domain."))
        records = await self.open({(DOMAIN, "TXT"): ["v=spf1 -all"]})
        (found,) = [each for each in await records.check(DOMAIN) if each.record.name == DOMAIN and each.record.kind == "TXT"]
        self.assertEqual(found.verdict, UNKNOWN, "without an address there is nothing to look for")

    async def test_dmarc(self) -> None:
        await self.verdicts(
            f"_dmarc.{DOMAIN}",
            "TXT",
            (["v=DMARC1; p=reject"], OK),
            (["v=DMARC1;p=Quarantine;pct=5"], OK),
            (["v=DMARC1"], DIFFERENT),
            (["v=DMARC1; p=none", "v=DMARC1; p=reject"], DIFFERENT),
            (["v=spf1 -all"], MISSING),
        )
        found = await self.finding({("_dmarc.test", "TXT"): ["v=DMARC1; p=reject"]}, f"_dmarc.{DOMAIN}", "TXT")
        self.assertEqual(found.verdict, MISSING, "a public suffix is not asked")
        records = await self.open({("_dmarc.example.test", "TXT"): ["v=DMARC1; p=reject"]})
        page = await records.expected(DOMAIN)
        below = Record("_dmarc.a.b.example.test", "TXT", "", "", REQUIRED, "dmarc")
        found = await records._published._dmarc(below)
        self.assertEqual((found.verdict, found.remark, len(page.records) > 10), (OK, "Inherited from _dmarc.example.test.", True))

    async def test_policies_and_reports(self) -> None:
        for name, version, tag in ((f"_mta-sts.{DOMAIN}", "STSv1", "id=1"), (f"_smtp._tls.{DOMAIN}", "TLSRPTv1", "rua=mailto:x@y")):
            one = f"v={version}; {tag}"
            await self.verdicts(name, "TXT", ([one], OK), ([one, one + ";"], DIFFERENT), ([f"v={version}"], DIFFERENT), (["x"], MISSING))

    async def test_tlsa(self) -> None:
        name = f"_25._tcp.{HOST}"
        await self.verdicts(name, "TLSA", (["3 1 1 " + "00" * 32], DIFFERENT), (["3 1 1 00"], DIFFERENT))
        records = await self.open()
        self.zone[name, "TLSA"] = ["3 1 1 " + "00" * 32, f"3 1 1 {key_digest(self.certificate)}"]
        (found,) = [each for each in await records.check(DOMAIN) if each.record.kind == "TLSA"]
        self.assertEqual(found.verdict, OK, "the next key is published beside it")
        self.assertIn("dns.validating", found.remark)
        for secure, remark in ((True, ""), (("elsewhere.example",), "The zone is not signed: nobody heeds it.")):
            records = await self.open(secure=secure)
            self.zone[name, "TLSA"] = [f"3 1 1 {key_digest(self.certificate)}"]
            (found,) = [each for each in await records.check(DOMAIN) if each.record.kind == "TLSA"]
            self.assertEqual((found.verdict, found.remark), (OK, remark))

    async def test_services(self) -> None:
        await self.verdicts(
            f"_imaps._tcp.{DOMAIN}",
            "SRV",
            ([f"5 5 2993 {HOST.upper()}."], OK),
            ([f"0 1 993 {HOST}."], DIFFERENT),
            (["0 0 0 ."], DIFFERENT),
            ([f"0 1 2993 {HOST}.", "0 1 993 other.example."], OK),
        )
        await self.verdicts(f"_pop3s._tcp.{DOMAIN}", "SRV", ([f"0 1 2995 {HOST}."], OK), ([f"0 1 995 {HOST}."], DIFFERENT))
        await self.verdicts(f"_mailx.{DOMAIN}", "TXT", (["v=1"], UNNECESSARY))
        name = f"autoconfig.{DOMAIN}"
        self.assertEqual((await self.finding({(name, "A"): ["192.0.2.80"]}, name, "CNAME")).seen, ("192.0.2.80",))
        self.assertEqual((await self.finding({(name, "CNAME"): ["nowhere.example."]}, name, "CNAME")).verdict, MISSING)

    async def test_federation(self) -> None:
        name, host = f"_mailx.{DOMAIN}", "mx.example.test"
        text = record_text(b"k" * 32, [(host, 2590)])
        self.patch(Base, "texts", {DOMAIN: text})
        found = await self.record(await self.open(), name, "TXT")
        self.assertEqual((found.value, found.need), (text, RECOMMENDED))
        await self.verdicts(
            name,
            "TXT",
            ([], MISSING),
            (["v=spf1 -all"], MISSING),
            ([text], OK),
            ([text.replace("; ", " ;") + "; later=1", "something else"], OK),
            ([text, text + ";"], DIFFERENT),
            ([record_text(b"o" * 32, [(host, 2590)])], DIFFERENT),
            ([record_text(b"k" * 32, [(host, 2591)])], DIFFERENT),
            (["v=mailx1; key=rsa:x; servers=x:1"], DIFFERENT),
        )
        for secure, remark in (
            (True, ""),
            (("elsewhere.example",), "The zone is not signed: others take the key from the domain's website."),
        ):
            finding = await self.finding({(name, "TXT"): [text]}, name, "TXT", secure)
            self.assertEqual((finding.verdict, finding.remark), (OK, remark))
        self.patch(Base, "texts", {DOMAIN: ""})  # the port is off
        await self.verdicts(name, "TXT", ([], OK), ([text], UNNECESSARY))

    async def test_keys(self) -> None:
        records = await self.open()
        (key,) = await self.signing.create(DOMAIN, ["ed25519-sha256"])
        for texts, verdict, lacking in (
            ([key.record], OK, []),
            ([key.record.replace("v=DKIM1; ", "")], OK, []),
            (["v=DKIM1; p="], DIFFERENT, [key]),
            ([key.record[:-4] + "AAA="], DIFFERENT, [key]),
            ([key.record, "v=DKIM1; p="], DIFFERENT, []),
        ):
            self.zone[key.name, "TXT"] = texts
            (found,) = [each for each in await records.check(DOMAIN) if each.record.name == key.name]
            self.assertEqual(found.verdict, verdict, texts)
            self.assertEqual(await records.lacks([key]), lacking, texts)
        self.zone[key.name, "TXT"] = names.SERVFAIL
        with self.assertRaises(DNSFailure):
            await records.lacks([key])

    async def test_what_is_shown_of_others(self) -> None:
        zone = {(DOMAIN, "TXT"): ["v=spf1 \x1b[31m" + "x" * 5000], (DOMAIN, "MX"): [f"{n} h{n}.example." for n in range(50)]}
        found = await self.finding(zone, DOMAIN, "TXT")
        self.assertNotIn("\x1b", found.seen[0])
        self.assertEqual(len(found.seen[0]), 1000)
        self.assertEqual(len((await self.finding(zone, DOMAIN, "MX")).seen), 10)


class Pure(SynchronousTestCase):
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=600))
    def test_strings(self, text: str) -> None:
        strings = dns.rdata.from_text("IN", "TXT", quoted(text) or '""').strings  # type: ignore[attr-defined]
        self.assertEqual(b"".join(strings).decode(), text)
        self.assertLessEqual(max(len(each) for each in strings), 255)

    def test_reverse_names(self) -> None:
        self.assertEqual(reverse_name("192.0.2.7"), "7.2.0.192.in-addr.arpa")
        self.assertEqual(reverse_name("2001:db8::1"), "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa")
