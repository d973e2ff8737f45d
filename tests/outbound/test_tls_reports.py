"""TLS reports: sessions counted by day and policy, kept over restarts, bounded (RFC 8460)."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailx.core.remembered import Remembered
from mailx.outbound.tls_reports import FLUSH_SECONDS, STS, Applied, TLSReports, places
from tests.scenery import world

RUA = ("mailto:tls@example.org",)
POLICY = Applied(STS, ("version: STSv1", "mode: testing"), ("*.example.org",))
NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC


class Places(SynchronousTestCase):
    def test_records(self) -> None:
        for records, expected in (
            ([b"v=TLSRPTv1; rua=mailto:tls@example.org"], RUA),
            ([b"v=spf1", b"v=TLSRPTv1;rua=mailto:tls@example.org , https://example.org/r"], (*RUA, "https://example.org/r")),
            ([b"v=TLSRPTv1; rua=http://example.org,ftp://x,mailto:a b"], ()),
            ([b"v=TLSRPTv1; rua=" + b",".join([b"mailto:x"] * 50)], ("mailto:x",) * 10),
            ([b"v=TLSRPTv1; rua=mailto:a", b"v=TLSRPTv1; rua=mailto:b"], ()),
            ([b"v=TLSRPTv1"], ()),
            ([], ()),
        ):
            self.assertEqual(places(records), expected)


class Counting(TestCase):
    async def there(self) -> tuple[TLSReports, Clock, Any]:
        here = await world(self)
        clock = Clock()
        clock.advance(NOON)
        remembered = Remembered(here.store, here.cipher, clock.seconds)
        return TLSReports(remembered, clock, clock.seconds), clock, remembered

    async def test_a_day(self) -> None:
        reports, clock, remembered = await self.there()
        for _ in range(3):
            reports.success("example.org", RUA, POLICY)
        reports.failure("example.org", RUA, POLICY, "certificate-expired", "mx.example.org", "192.0.2.1")
        reports.success("example.net", RUA, Applied())
        reports.success("silent.test", (), Applied())
        await reports.stop()
        again = TLSReports(remembered, clock, clock.seconds)
        for _ in range(2):
            again.failure("example.org", RUA, POLICY, "certificate-expired", "mx.example.org", "192.0.2.1")
        again.failure("example.org", RUA, POLICY, "sts-policy-fetch-error")
        found = await again.report("2027-01-15", "Here", "postmaster@here.test")
        await again.stop()
        self.assertEqual([report.domain for report in found], ["example.net", "example.org"])
        self.assertEqual(found[1].places, RUA)
        self.assertEqual(
            json.loads(json.dumps(found[1].content)),
            {
                "organization-name": "Here",
                "date-range": {"start-datetime": "2027-01-15T00:00:00Z", "end-datetime": "2027-01-15T23:59:59Z"},
                "contact-info": "postmaster@here.test",
                "report-id": "2027-01-15.example.org",
                "policies": [
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-string": ["version: STSv1", "mode: testing"],
                            "policy-domain": "example.org",
                            "mx-host": ["*.example.org"],
                        },
                        "summary": {"total-successful-session-count": 3, "total-failure-session-count": 4},
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "receiving-mx-hostname": "mx.example.org",
                                "receiving-ip": "192.0.2.1",
                                "failed-session-count": 3,
                            },
                            {"result-type": "sts-policy-fetch-error", "failed-session-count": 1},
                        ],
                    }
                ],
            },
        )
        self.assertEqual(found[0].content["policies"][0]["policy"], {"policy-type": "no-policy-found", "policy-domain": "example.net"})

    async def test_days_apart(self) -> None:
        reports, clock, _ = await self.there()
        reports.success("example.org", RUA, Applied())
        clock.advance(86400)  # and with it the flush
        reports.success("example.org", RUA, Applied())
        reports.success("example.org", RUA, Applied())
        counts = []
        for day in ("2027-01-15", "2027-01-16", "2027-01-17"):
            found = await reports.report(day, "", "")
            counts.append([report.content["policies"][0]["summary"]["total-successful-session-count"] for report in found])
        self.assertEqual(counts, [[1], [2], []])
        await reports.stop()

    async def test_bounded(self) -> None:
        reports, clock, _ = await self.there()
        for number in range(300):
            reports.failure("example.org", RUA, POLICY, "validation-failure", f"mx{number}.test")
            reports.success("example.org", RUA, Applied(STS, (str(number),)))
        (report,) = await reports.report("2027-01-15", "", "")
        self.assertEqual(len(report.content["policies"]), 20)
        self.assertEqual(len(report.content["policies"][0]["failure-details"]), 100)
        await reports.stop()

    async def test_written_by_itself(self) -> None:
        reports, clock, remembered = await self.there()
        reports.success("example.org", RUA, POLICY)
        self.assertEqual(await remembered.all("tls-report 2027-01-15"), [])
        clock.advance(FLUSH_SECONDS)
        await remembered.put("test", "", None, 0)  # behind the counts
        self.assertEqual(len(await remembered.all("tls-report 2027-01-15")), 1)
        await reports.stop()
