"""One message's way over two real servers is one trace, of which a collector gets ids, times, sizes and codes, and nothing else."""

import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.trial.unittest import SynchronousTestCase

from tests.system.federation import federated
from tests.system.server import PATIENCE, ROOT, Server
from tests.system.test_panel import SETTINGS, post_call

SUBJECT, TEXT = "Heliotrope conference", "The lighthouse keeper counts marmalade jars."


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.bodies: list[bytes] = []
        self._more = threading.Condition()
        outer = self

        class Taking(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer._more:
                    outer.bodies.append(body)
                    outer._more.notify_all()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        case.addCleanup(self._server.server_close)
        case.addCleanup(thread.join)
        case.addCleanup(self._server.shutdown)

    def spans(self) -> list[tuple[str, Any]]:
        """All that came, each with the name of the server that told it."""
        found = []
        for body in list(self.bodies):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                host = next(each.value.string_value for each in resource.resource.attributes if each.key == "host.name")
                found += [(host, span) for scope in resource.scope_spans for span in scope.spans]
        return found

    def wait(self, count: int) -> list[tuple[str, Any]]:
        """The spans, once there are ``count``."""
        deadline = time.monotonic() + PATIENCE
        with self._more:
            while len(spans := self.spans()) < count:
                left = deadline - time.monotonic()
                assert left > 0 and self._more.wait(left), f"only {len(spans)} spans came: {spans}"
        return spans


def facts(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


class Traces(SynchronousTestCase):
    """``[traces]`` on real servers."""

    def setUp(self) -> None:
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"  # milliseconds that spans wait for others, else 5000
        self.addCleanup(os.environ.pop, "OTEL_BSP_SCHEDULE_DELAY")

    def test_one_trace_over_two_servers(self) -> None:
        collector = Collector(self)
        settings = {"traces.endpoint": f'"{collector.endpoint}"'}
        ours, theirs = federated(self, ["a.test", "b.test"], settings)
        ours.submit(theirs.account, SUBJECT, TEXT)
        theirs.message(SUBJECT)
        found = collector.wait(4)
        spans = {(host, span.name): span for host, span in found}
        accepted, attempt = spans["mx.a.test", "mailx.accept"], spans["mx.a.test", "mailx.attempt"]
        transfer, arrived = spans["mx.a.test", "mailx.federate"], spans["mx.b.test", "mailx.accept"]
        self.assertEqual(len(found), 4)
        self.assertEqual(len({span.trace_id for _, span in found}), 1)
        self.assertEqual(accepted.parent_span_id, b"")
        self.assertEqual(attempt.parent_span_id, accepted.span_id)
        self.assertEqual(transfer.parent_span_id, attempt.span_id)
        self.assertEqual(arrived.parent_span_id, transfer.span_id)
        self.assertLessEqual(transfer.start_time_unix_nano, arrived.start_time_unix_nano)
        self.assertLessEqual(arrived.end_time_unix_nano, transfer.end_time_unix_nano)
        self.assertEqual([facts(accepted)[f"mailx.{name}"] for name in ("protocol", "here", "elsewhere")], ["ESMTPSA", 0, 1])
        self.assertEqual([facts(attempt)[f"mailx.{name}"] for name in ("recipients", "way", "attempt", "code")], [1, "federation", 1, 250])
        self.assertEqual(facts(transfer)["mailx.peer"], "b.test")
        self.assertEqual([facts(arrived)[f"mailx.{name}"] for name in ("peer", "here", "elsewhere")], ["a.test", 1, 0])
        self.silent(collector, ours, theirs)

    def test_every_way_in_and_an_attempt_that_fails(self) -> None:
        collector = Collector(self)
        server = Server(self, {**SETTINGS, "traces.endpoint": f'"{collector.endpoint}"'})
        server.start()
        server.send("from outside")
        post_call(server, to=server.account)
        server.submit("ada@example.net", "nobody is there")
        spans = [span for _, span in collector.wait(4)]
        accepted = [facts(span)["mailx.protocol"] for span in spans if span.name == "mailx.accept"]
        self.assertEqual(sorted(accepted), ["ESMTP", "ESMTPSA", "HTTP"])
        (attempt,) = [span for span in spans if span.name == "mailx.attempt"]
        self.assertEqual(facts(attempt)["mailx.way"], "direct")
        self.assertEqual(facts(attempt)["mailx.code"] // 100, 4)
        self.assertEqual(attempt.status.code, 2)  # an error
        self.assertEqual(len({span.trace_id for span in spans}), 3)
        self.silent(collector, server)

    def silent(self, collector: Collector, *servers: Server) -> None:
        """Neither address nor text is in what was posted."""
        posted = b"".join(collector.bodies).lower()
        for text in (*SUBJECT.split(), *TEXT.split()[1:3], *(server.account for server in servers), "127.0.1."):
            self.assertNotIn(text.lower().encode(), posted)

    def test_a_collector_that_is_away_holds_up_nothing(self) -> None:
        server = Server(self, {"traces.endpoint": '"http://127.0.0.1:1/v1/traces"'})
        server.start()
        server.submit(server.account, SUBJECT)
        server.message(SUBJECT)
        self.assertIn(server.stop(), (0, -signal.SIGTERM))
        self.assertIn("traces.not_posted", server.log())

    def test_what_cannot_be_used_keeps_the_server_from_starting(self) -> None:
        bare = Path(self.mktemp())
        (bare / "opentelemetry").mkdir(parents=True)
        (bare / "opentelemetry" / "__init__.py").touch()
        for endpoint, environ, said in (
            ("ftp://127.0.0.1/", {}, "traces.endpoint"),
            ("http://127.0.0.1:1/", {"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_"),
            ("http://127.0.0.1:1/", {"PYTHONPATH": f"{bare.absolute()}:{ROOT}"}, "install mailx[traces]"),
        ):
            server = Server(self, {"traces.endpoint": f'"{endpoint}"'})
            process = server.spawn(environ=environ)
            _, told = process.communicate(timeout=PATIENCE)
            self.assertIn("mailx: ", told.decode())
            self.assertIn(said, told.decode())
            self.assertNotIn("Traceback", told.decode())
            self.assertNotEqual(process.returncode, 0)
