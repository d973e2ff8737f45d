"""Dates of header fields."""

from datetime import UTC, datetime
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.mail.dates import Moment, parse


class Dates(SynchronousTestCase):
    def test_forms(self) -> None:
        moment = Moment(1736154000, 3600)
        for value in (
            b"Mon, 6 Jan 2025 10:00:00 +0100",
            b"Mon, 06 Jan 2025 10:00:00 +0100 (CET)",
            b"6 Jan 2025 10:00 +0100",
            b"Monday, 6 January 2025 10:00:00 +0100",
            b"Mon,6 Jan 25 10:00:00 +0100",
            b"  mon, 6-jan-2025 10:00:00 +0100",
        ):
            self.assertEqual(parse(value), moment, value)

    def test_zones(self) -> None:
        """RFC 5322 4.3."""
        base = b"Mon, 6 Jan 2025 10:00:00 "
        for zone, hours in ((b"GMT", 0), (b"UT", 0), (b"Z", 0), (b"EST", -5), (b"pdt", -7), (b"-0330", -3.5), (b"XYZ", 0), (b"", 0)):
            self.assertEqual(parse(base + zone), Moment(1736157600 - int(hours * 3600), int(hours * 3600)), zone)

    def test_old_years(self) -> None:
        for year, meant in ((b"49", 2049), (b"50", 1950), (b"99", 1999), (b"100", 2000)):
            found = parse(b"1 Jan " + year + b" 00:00:00 +0000")
            self.assertEqual(found, Moment(int(datetime(meant, 1, 1, tzinfo=UTC).timestamp()), 0))

    def test_asctime(self) -> None:
        self.assertEqual(parse(b"Mon Jan  6 10:00:00 2025"), Moment(1736157600, 0))
        self.assertEqual(parse(b"Mon Jan  6 10:00:00 EST 2025"), Moment(1736175600, -18000))

    def test_no_dates(self) -> None:
        for value in (
            b"",
            b"never",
            b"32 Jan 2025 10:00:00 +0000",
            b"6 Foo 2025 10:00:00 +0000",
            b"6 Jan 2025 99:00:00 +0000",
            b"6 Jan 0000 1:00:00",
        ):
            self.assertIsNone(parse(value), value)

    @given(st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))
    def test_what_is_formatted_comes_back(self, moment: datetime) -> None:
        moment = moment.replace(microsecond=0)
        offset = moment.utcoffset()
        assert offset is not None
        if offset.total_seconds() % 60:
            return
        found = parse(format_datetime(moment).encode())
        self.assertEqual(found, Moment(int(moment.timestamp()), int(offset.total_seconds())))

    @given(st.binary())
    def test_never_raises(self, value: bytes) -> None:
        parse(value)
        parse(b"1 Jan 2025 " + value)
