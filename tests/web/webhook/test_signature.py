"""Timestamps and signatures, in every form."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailx.web.webhook.answers import Declined
from mailx.web.webhook.signature import moment, verify

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


class Moments(SynchronousTestCase):
    """ISO 8601 as programs write it."""

    @given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1), timezones=ZONES), st.sampled_from(["auto", "seconds", "milliseconds"]))
    def test_what_python_writes(self, when: datetime, precision: str) -> None:
        written = when.isoformat(timespec=precision)
        self.assertEqual(moment(written), datetime.fromisoformat(written).timestamp())

    @given(st.datetimes(datetime(1971, 1, 1), datetime(9990, 1, 1)))
    def test_without_a_zone_it_is_utc(self, when: datetime) -> None:
        self.assertEqual(moment(when.isoformat()), when.replace(tzinfo=UTC).timestamp())

    @given(st.text(max_size=80) | st.text("0123456789-T:.Z+", max_size=40))
    def test_anything(self, text: str) -> None:
        found = moment(text)
        self.assertTrue(found is None or isinstance(found, float))

    def test_forms(self) -> None:
        for text in (
            "2026-02-21T05:35:10Z",
            "2026-02-21t05:35:10z",
            "2026-02-21 05:35:10",
            "2026-02-21T06:35:10+01",
            "2026-02-21T06:35:10+0100",
        ):
            self.assertEqual(moment(text), 1771652110.0, text)
        self.assertEqual(moment("2026-02-21T05:35:10.5Z"), 1771652110.5)
        for text in ("", "2026-02-30T00:00:00Z", "2026-02-21T25:00:00Z", "2026-02-21T00:00:00+24:00", "٢٠٢٦-02-21T05:35:10Z", "2026-02-21"):
            self.assertIsNone(moment(text), text)
        for text in ("9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01"):  # beyond the calendar in UTC
            self.assertIsNone(moment(text), text)


class Signatures(SynchronousTestCase):
    """The HMAC is over what was sent, to the octet."""

    @given(st.binary(max_size=100), st.binary(min_size=1, max_size=50))
    def test_good_and_changed(self, body: bytes, secret: bytes) -> None:
        timestamp = b"2026-02-21T05:35:10Z"
        digest = hmac.new(secret, timestamp + b"." + body, hashlib.sha256).digest()
        for given_hex in (digest.hex(), digest.hex().upper()):
            self.assertEqual(verify(secret, timestamp, given_hex.encode(), body, 1771652110.0, 300), digest)
        for changed in (body + b"\0", body[:-1] + b"\xff\xfe", b"x" + body):
            self.assertEqual(self.refused(secret, timestamp, digest.hex().encode(), changed), "invalid signature")
        self.assertEqual(self.refused(secret, timestamp, digest.hex().encode(), body, 1771652411.0), "invalid signature")
        self.assertEqual(self.refused(secret, b"", digest.hex().encode(), body), "missing signature")

    def refused(self, secret: bytes, timestamp: bytes, signature: bytes, body: bytes, now: float = 1771652110.0) -> str:
        error = self.assertRaises(Declined, verify, secret, timestamp, signature, body, now, 300)
        assert isinstance(error, Declined)
        self.assertEqual(error.answer.status, 401)
        return error.error
