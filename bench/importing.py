"""``make bench-import``: a Maildir of 50,000 messages comes into an account by ``mailxctl import``.

Once without a break, for the rate; every batch is durable before the next. Then into another account, where the server is
killed (kill -9) after a quarter, the import runs again and is itself killed after a half, and runs again to its end. IMAP must
show in both accounts every message once, with its content, flags and date.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from imaplib import IMAP4
from pathlib import Path
from typing import Any

from bench.corpus import Corpus
from bench.report import finish, progress
from bench.servers import BIN, DOMAIN, PASSWORD, ROOT, MailX
from tests.system.imported import Seen, make, seen

_LARGE = 1_500_000  # octets of one message in 5,000


def _messages(count: int) -> Any:
    corpus = Corpus()
    for number in range(count):
        octets = _LARGE if number % 5000 == 4999 else 4096
        yield corpus.message(number, octets).replace(b"\r\n", b"\n")


class Importing:
    """``mailxctl import maildir`` in a process of its own."""

    def __init__(self, server: MailX, source: Path, user: int) -> None:
        command = [str(BIN / "mailxctl"), "--config", str(server.directory / "mailx.toml"), "--json", "import", "maildir", str(source)]
        command += ["--to", f"u{user}@{DOMAIN}"]
        self._server = server
        self._address = f"u{user}@{DOMAIN}"
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(self, messages: int) -> None:
        """Until so many have come; raises RuntimeError where it ends before."""
        while True:
            held = self._server.api("GET", "/v1/imports")["imports"]
            if any(one["address"] == self._address and one["messages"] >= messages for one in held):
                return
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended too early: {self.process.communicate()}")
            time.sleep(0.05)

    def ended(self) -> tuple[int, Any]:
        """Its status, and what it says."""
        said, wrong = self.process.communicate()
        return self.process.returncode, json.loads(said) if self.process.returncode == 0 else wrong


def _shown(server: MailX, user: int) -> Seen:
    with IMAP4("127.0.0.1", server.imap_port) as client:
        client.login(f"u{user}@{DOMAIN}", PASSWORD)
        return seen(client)


def run(directory: Path, count: int) -> dict[str, Any]:
    """The figures; ``faults`` should be 0."""
    shutil.rmtree(directory, ignore_errors=True)
    source = directory / "Maildir"
    progress(f"making a Maildir of {count} messages")
    expected = make(source, _messages(count))
    octets = sum(path.stat().st_size for path in source.glob("**/cur/*"))
    server = MailX(directory / "server", users=2, settings="[accounts]\nquota = 0\n")
    server.start()
    try:
        server.populate()
        progress("importing it without a break")
        status, told = Importing(server, source, 1).ended()
        if status:
            raise RuntimeError(told)
        rate = told["read"] / told["seconds"]["import"]
        progress(f"{rate:.0f} messages/s; importing it once more, with a kill of the server")
        importing = Importing(server, source, 2)
        importing.wait_for(count // 4)
        server.kill()
        broken, _ = importing.ended()
        server.start()
        progress("running it again, with a kill of mailxctl")
        importing = Importing(server, source, 2)
        importing.wait_for(count // 2)
        importing.process.kill()
        importing.ended()
        progress("running it again, to its end")
        status, last = Importing(server, source, 2).ended()
        if status:
            raise RuntimeError(last)
        progress("reading everything back by IMAP")
        wrong = [_different(_shown(server, user), expected) for user in (1, 2)]
    finally:
        server.stop()
    faults = sum(wrong) + (not broken) + told["differing"] + last["differing"] + (last["equal"] != count) + (told["equal"] != count)
    return {
        "messages": count,
        "octets": octets,
        "messages_per_second": round(rate),
        "seconds": told["seconds"],
        "checked_per_second": round(told["equal"] / told["seconds"]["check"]),
        "after_kills": {name: last[name] for name in ("added", "known", "equal", "differing")},
        "faults": faults,
    }


def _different(found: Seen, expected: Seen) -> int:
    """How many messages are missing, too many, or other than they were."""
    return (found - expected).total() + (expected - found).total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=50_000)
    options = parser.parse_args()
    figures = run(ROOT / "bench" / "var" / "import", options.messages)
    finish("import", figures, {})
    sys.exit(1 if figures["faults"] else 0)


if __name__ == "__main__":
    main()
