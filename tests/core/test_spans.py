"""Spans: which trace a step belongs to, and what is posted of it."""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest.mock import patch

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from twisted.trial.unittest import TestCase

from mailx.config_federation import Traces
from mailx.core.spans import UNTRACED, Spans, Unusable
from mailx.mail.reply import Refused, Reply


class Trace(TestCase):
    """What spans say, without a network."""

    async def finished(self, spans: Spans, exporter: InMemorySpanExporter) -> dict[str, Any]:
        await spans.stop()
        return {span.name: span for span in exporter.get_finished_spans()}

    async def test_one_trace_from_acceptance_over_an_attempt_to_the_next_server(self) -> None:
        ours, theirs = InMemorySpanExporter(), InMemorySpanExporter()
        here, there = Spans(Traces(), "a.test", ours), Spans(Traces(percent=0), "b.test", theirs)
        with here.accepting("0123456789abcdef", size=12):
            pass
        with here.step("transfer", "0123456789abcdef", domain="b.test") as attempt:
            parent = attempt.traceparent
        with there.accepting("fedcba9876543210", parent):
            pass
        mine, other = await self.finished(here, ours), await self.finished(there, theirs)
        accepted, transfer, received = mine["mailx.accept"], mine["mailx.transfer"], other["mailx.accept"]
        self.assertEqual(len({span.context.trace_id for span in (accepted, transfer, received)}), 1)
        self.assertIsNone(accepted.parent)
        self.assertEqual(transfer.parent.span_id, accepted.context.span_id)
        self.assertEqual(received.parent.span_id, transfer.context.span_id)
        self.assertEqual(dict(accepted.attributes), {"mailx.message_id": "0123456789abcdef", "mailx.size": 12})

    async def test_messages_have_traces_of_their_own(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "a.test", exporter)
        for id in ("1" * 16, "2" * 16):
            with spans.accepting(id):
                pass
        await spans.stop()
        self.assertEqual(len({span.context.trace_id for span in exporter.get_finished_spans()}), 2)

    async def test_a_failure_is_marked_by_its_kind_only(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "a.test", exporter)
        with self.assertRaises(ValueError), spans.step("transfer", "1" * 16):
            raise ValueError("somebody's secret")
        span = (await self.finished(spans, exporter))["mailx.transfer"]
        self.assertEqual(span.status.description, "ValueError")
        self.assertNotIn("secret", span.to_json())

    async def test_a_refusal_is_marked_by_its_code(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "a.test", exporter)
        with self.assertRaises(Refused), spans.accepting("1" * 16):
            raise Refused(Reply(550, "5.1.1", "No such user: ada@example.org"))
        span = (await self.finished(spans, exporter))["mailx.accept"]
        self.assertEqual(span.status.description, "550")
        self.assertNotIn("ada", span.to_json())

    async def test_a_step_within_a_step(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "a.test", exporter)
        with spans.step("attempt", "1" * 16), spans.step("federate", "1" * 16):
            pass
        with spans.step("attempt", "2" * 16), spans.accepting("2" * 16):  # mail that comes home
            pass
        await spans.stop()
        found: dict[str, dict[str, Any]] = {}
        for span in exporter.get_finished_spans():
            found.setdefault(str(span.attributes["mailx.message_id"]), {})[span.name] = span
        one, other = found["1" * 16], found["2" * 16]
        self.assertEqual(one["mailx.federate"].parent.span_id, one["mailx.attempt"].context.span_id)
        self.assertEqual(other["mailx.accept"].parent.span_id, other["mailx.attempt"].context.span_id)
        self.assertEqual(len({span.context.span_id for each in found.values() for span in each.values()}), 4)

    async def test_what_is_passed_on_stays_in_the_trace_that_it_came_with(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(percent=0), "b.test", exporter)
        trace = "0af7651916cd43dd8448eb211c80319c"
        with spans.accepting("1" * 16, f"00-{trace}-b7ad6b7169203331-01"):
            pass
        with spans.step("attempt", "1" * 16):
            pass
        found = await self.finished(spans, exporter)
        self.assertEqual({f"{span.context.trace_id:032x}" for span in found.values()}, {trace})
        self.assertEqual(found["mailx.attempt"].parent.span_id, found["mailx.accept"].context.span_id)

    async def test_who_does_not_want_it_traced(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "b.test", exporter)
        with spans.accepting("1" * 16, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") as span:
            self.assertIs(span, UNTRACED)
        self.assertEqual(await self.finished(spans, exporter), {})

    async def test_what_claims_to_be_a_parent_and_is_none_is_ignored(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(), "a.test", exporter)
        for parent in (
            "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
            "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
            "00-zz-1-01",
            "00-" + "0" * 600,
            "\r\n",
            "01-" + "1" * 32 + "-" + "1" * 16 + "-01",
        ):
            with spans.accepting("1" * 16, parent):
                pass
        await spans.stop()
        self.assertTrue(all(span.parent is None for span in exporter.get_finished_spans()))

    def test_what_cannot_be_used_is_said(self) -> None:
        with patch.dict(sys.modules, {"opentelemetry.exporter.otlp.proto.http.trace_exporter": None}):
            error = self.assertRaises(Unusable, Spans, Traces(endpoint="http://ada:secret@127.0.0.1/"), "a.test")
        self.assertIn("install mailx[traces]", str(error))
        self.assertNotIn("secret", str(error))

    def test_nothing_is_traced_without_an_endpoint(self) -> None:
        with Spans(Traces(), "a.test").accepting("1" * 16) as span:
            self.assertIs(span, UNTRACED)
            self.assertEqual(span.traceparent, "")

    async def test_a_part_of_all_messages(self) -> None:
        exporter = InMemorySpanExporter()
        spans = Spans(Traces(percent=25), "a.test", exporter)
        for number in range(400):
            with spans.accepting(f"{number:016x}"), spans.step("transfer", f"{number:016x}"):
                pass
        await spans.stop()
        found = exporter.get_finished_spans()
        accepted = sum(span.name == "mailx.accept" for span in found)
        self.assertTrue(50 < accepted < 150, accepted)
        self.assertEqual(len(found), 2 * accepted)


class Posted(TestCase):
    """The exporter posts what was made to an endpoint, and a dead one costs nothing but spans."""

    async def test_an_endpoint_gets_them_at_the_end(self) -> None:
        bodies: list[bytes] = []

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Collector)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            spans = Spans(Traces(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces"), "a.test")
            with spans.accepting("1" * 16, domain="b.test"):
                pass
            await spans.stop()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
        self.assertIn(b"mailx.accept", b"".join(bodies))
        self.assertIn(b"b.test", b"".join(bodies))

    async def test_nobody_at_the_endpoint(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            spans = Spans(Traces(endpoint=f"http://127.0.0.1:{unused.getsockname()[1]}/"), "a.test")
            with spans.accepting("1" * 16):
                pass
            await spans.stop()
