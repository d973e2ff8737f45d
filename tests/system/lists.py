"""A shared block list as somebody offers it: signed, on a web server of this machine."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from unittest import TestCase

from mailx.identity.encoding import b64, key_text
from mailx.identity.statements import SeedSigner


def shared_list(case: TestCase, *senders: str) -> tuple[str, str]:
    """The URL at which a list of ``senders`` is to be had until the test ends, and the key that it is signed with."""
    signer, text = SeedSigner(b"l" * 32), "".join(f"{line}\n" for line in ("# mailx-serial: 1", *senders)).encode()
    signature = b64(signer.sign(b"mailx-1 block-list\n" + text)).encode()
    return serve(case, text + b"# mailx-signature: " + signature + b"\n"), key_text(signer.public)


def serve(case: TestCase, content: bytes) -> str:
    """A URL at which ``content`` is to be had until the test ends."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    case.addCleanup(close)
    return f"http://127.0.0.1:{server.server_port}/block.txt"
