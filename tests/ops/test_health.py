"""The health port, through its whole resource tree."""

import json

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailx import __version__
from mailx.core.metrics import ACCOUNTS, RECEIVED, STORAGE_OCTETS
from mailx.mail.reply import Unavailable
from mailx.ops.health import PATIENCE, Health
from mailx.ops.metrics import DELAY, Census, Delay


async def fine() -> None:
    return None


async def broken() -> None:
    raise RuntimeError("postgresql://user:hunter2@host is down")


class Answers(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.probes = {"store": fine}
        self.health = Health(self.probes, self.clock)
        self.health.phase = "running"
        self.treq = StubTreq(self.health.app.resource())

    def get(self, path: str, **headers: str) -> tuple[int, bytes, str]:
        response = self.successResultOf(self.treq.get(f"http://localhost{path}", headers=headers))
        body = self.successResultOf(response.content())
        return response.code, body, response.headers.getRawHeaders("content-type", [""])[0]

    def test_alive(self) -> None:
        code, body, kind = self.get("/healthz")
        self.assertEqual((code, json.loads(body), kind), (200, {"status": "ok", "version": __version__}, "application/json"))

    def test_ready(self) -> None:
        code, body, _ = self.get("/readyz")
        self.assertEqual((code, json.loads(body)), (200, {"status": "ok", "parts": {"store": "ok"}}))

    def test_a_broken_part_is_named_without_its_reason(self) -> None:
        self.probes["search"] = broken
        code, body, _ = self.get("/readyz")
        self.assertEqual((code, json.loads(body)), (503, {"status": "failed", "parts": {"store": "ok", "search": "failed"}}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_part_that_does_not_answer_fails(self) -> None:
        async def silent() -> None:
            await Deferred()

        self.probes["store"] = silent
        answer = self.treq.get("http://localhost/readyz")
        self.assertNoResult(answer)
        self.clock.advance(PATIENCE)
        self.treq.flush()
        self.assertEqual(self.successResultOf(answer).code, 503)
        self.flushLoggedErrors()

    def test_not_ready_before_and_after(self) -> None:
        for phase in ("starting", "stopping"):
            self.health.phase = phase
            code, body, _ = self.get("/readyz")
            self.assertEqual((code, json.loads(body)["status"]), (503, phase))
            self.assertEqual(self.get("/healthz")[0], 200)

    def test_metrics(self) -> None:
        RECEIVED.labels("ESMTPS").inc()
        code, body, kind = self.get("/metrics")
        self.assertEqual(code, 200)
        self.assertTrue(kind.startswith("text/plain; version="), kind)
        for line in (
            b'mailx_messages_received_total{protocol="ESMTPS"}',
            b"process_resident_memory_bytes",
            f'version="{__version__}"'.encode(),
        ):
            self.assertIn(line, body)

    def test_nothing_else(self) -> None:
        self.assertEqual(self.get("/")[0], 404)


class Counting(SynchronousTestCase):
    def test_accounts_and_octets_are_read_once_a_minute(self) -> None:
        class Directory:
            answers = [(2, 300), Unavailable("locked"), (3, 400)]

            async def totals(self) -> tuple[int, int]:
                answer = self.answers.pop(0)
                if isinstance(answer, Unavailable):
                    raise answer
                return answer

        clock = Clock()
        census = Census(Directory(), clock)  # type: ignore[arg-type]
        census.start()
        for expected in ((2, 300), (2, 300), (3, 400)):
            self.assertEqual((ACCOUNTS._value.get(), STORAGE_OCTETS._value.get()), expected)
            if expected != (3, 400):
                clock.advance(60)
        census.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class Lateness(SynchronousTestCase):
    def test_a_late_call_is_measured(self) -> None:
        clock = Clock()
        delay = Delay(clock)
        delay.start()
        clock.advance(1)
        self.assertEqual(DELAY._value.get(), 0)
        clock.advance(1.25)
        self.assertEqual(DELAY._value.get(), 0.25)
        delay.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
